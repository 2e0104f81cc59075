"""From findings to a verdict: which rows go on, which are quarantined, and whether the pipeline stops."""

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from compodiff.pairs.similarity import judge
from compodiff.params import SetParams, SimilarityFloors, ValidationParams
from compodiff.validation.rows import Judged, frame_rows
from compodiff.validation.suite import ExpectationResult, Suite

_KEYS_IN_RESULT, _KEYS_IN_MESSAGE, _REASONS_IN_MESSAGE = 20, 3, 3
_SCORES = tuple(SimilarityFloors.model_fields)
_SAID = ("key", "shard", "split", *_SCORES)


@dataclass
class Verdict:
    """What became of the rows of a set.

    Attributes:
        accepted: (R,) of each row, whether it is trained on.
        findings: what each expectation found in all rows together.
        shards: the same of each shard by itself: its rows, how many are quarantined, and for each expectation that some
            of its rows fail how many do.
        dropped: filter -> rows that fall below its floor.
    """

    accepted: NDArray[np.bool_]
    findings: list[ExpectationResult] = field(default_factory=list)
    shards: dict[str, dict[str, Any]] = field(default_factory=dict)
    dropped: Counter[str] = field(default_factory=Counter)
    examined: int = 0

    @property
    def passed(self) -> bool:
        """Whether every expectation holds for enough rows."""
        return all(finding.passed for finding in self.findings)

    def describe_reasons(self) -> str:
        """Name the first expectations that failed and their first rows, in one line."""
        failed = [_describe_failure(finding) for finding in self.findings if not finding.passed]
        more = len(failed) - _REASONS_IN_MESSAGE
        return "; ".join(failed[:_REASONS_IN_MESSAGE] + [f"and {more} more"] * (more > 0))

    def to_json(self) -> dict[str, Any]:
        """Return the verdict as JSON types."""
        return {
            "passed": self.passed,
            "rows": len(self.accepted),
            "accepted": int(self.accepted.sum()),
            "dropped_by_floor": dict(self.dropped),
            "quarantined": self.examined - int(self.accepted.sum()),
            "expectations": [
                {
                    "expectation": finding.expectation,
                    "passed": finding.passed,
                    "unexpected": len(finding.keys),
                    "keys": list(finding.keys[:_KEYS_IN_RESULT]),
                    "observed": finding.observed,
                }
                for finding in self.findings
            ],
            "shards": self.shards,
        }


def validate_rows(
    judged: Judged, params: SetParams, validation: ValidationParams, docs: Path
) -> Iterator[tuple[pd.DataFrame, pd.DataFrame] | Verdict]:
    """Judge the rows of a set, some at a time, by the floors of its params and by the suite.

    Args:
        judged: the set, its embeddings and what is held out.
        params: of the set.
        validation: what is tolerated.
        docs: folder for the Data Docs.

    Yields:
        For each group of rows what was said of them (key, shard, split, scores, relation, accepted, rejected_by), and
        the rows in quarantine with a column `failed`; at last the verdict.
    """
    kind = judged.training_set.description.kind
    suite = Suite(kind, validation, docs)
    verdict = Verdict(np.zeros(len(judged.embeddings.open_array("keys")), np.bool_))
    groups: list[list[ExpectationResult]] = []
    for number, rows in enumerate(frame_rows(judged, validation.rows_at_once)):
        below = judge(rows[list(_SCORES)], params.floors)
        verdict.dropped.update(name for names in below[below != ""] for name in names.split(","))
        examined = rows[below == ""]
        verdict.examined += len(examined)
        findings = suite.find(examined, f"{kind} {number}") if len(examined) else []
        groups.append(findings)
        failed = _name_failures(examined, findings)
        verdict.accepted[examined.loc[failed == "", "row"]] = True
        verdict.shards |= _count_by_shard(examined, failed, findings)
        reasons = below.where(below != "", failed.reindex(rows.index, fill_value=""))
        relation = rows.get("relation", "")
        said = rows[list(_SAID)].assign(relation=relation, accepted=reasons == "", rejected_by=reasons)
        yield said, examined.assign(failed=failed)[failed != ""]
    verdict.findings = [*_merge_findings(groups, verdict.examined), _count_rows(judged, verdict, params.min_rows)]
    yield verdict


def _name_failures(rows: pd.DataFrame, findings: list[ExpectationResult]) -> "pd.Series[str]":
    """Name the expectations that each row fails; where the table as a whole is at fault, every row fails."""
    of_table = [finding.expectation for finding in findings if not finding.passed and not finding.keys]
    failed: defaultdict[str, list[str]] = defaultdict(lambda: list(of_table))
    for finding in findings:
        for key in set(finding.keys):  # a key may stand in several rows
            failed[key].append(finding.expectation)
    return rows["key"].astype(str).map(lambda key: ", ".join(failed.get(key, of_table))).astype("str")


def _merge_findings(groups: list[list[ExpectationResult]], examined: int) -> list[ExpectationResult]:
    """Take the findings of all groups of rows together: the tolerated fraction is of all rows."""
    merged: dict[str, list[ExpectationResult]] = defaultdict(list)
    for findings in groups:
        for finding in findings:
            merged[finding.expectation].append(finding)
    together = []
    for name, found in merged.items():
        keys = tuple(key for finding in found for key in finding.keys)
        of_table = [finding for finding in found if not finding.passed and not finding.keys]
        passed = not of_table and len(keys) <= found[0].tolerated * examined
        observed = of_table[0].observed if of_table else ""
        together.append(ExpectationResult(name, passed, keys, observed, found[0].tolerated))
    return together


def _count_rows(judged: Judged, verdict: Verdict, least: int) -> ExpectationResult:
    """Find whether enough rows of the training split are left."""
    count = int((verdict.accepted & (np.array(judged.embeddings.open_array("splits")) == 0)).sum())
    observed = "" if count >= least else f"{count:,} rows of the training split, at least {least:,} are wanted"
    return ExpectationResult("enough_rows", count >= least, (), observed)


def _count_by_shard(
    rows: pd.DataFrame, failed: "pd.Series[str]", findings: list[ExpectationResult]
) -> dict[str, dict[str, Any]]:
    """Judge each shard by what was found of its rows."""
    unexpected: defaultdict[str, dict[str, int]] = defaultdict(dict)
    for finding in findings:
        for name, count in rows.loc[rows["key"].isin(finding.keys), "shard"].value_counts().items():
            unexpected[str(name)][finding.expectation] = int(count)
    tolerated = {finding.expectation: finding.tolerated for finding in findings}
    quarantined = (failed != "").groupby(rows["shard"]).agg(["size", "sum"])
    return {
        str(name): {
            "rows": int(size),
            "quarantined": int(count),
            "passed": all(many <= tolerated[which] * size for which, many in unexpected[str(name)].items()),
            "unexpected": unexpected[str(name)],
        }
        for name, size, count in quarantined.itertuples()
    }


def _describe_failure(finding: ExpectationResult) -> str:
    if not finding.keys:
        return f"{finding.expectation} found {finding.observed}"
    more = ", ..." if len(finding.keys) > _KEYS_IN_MESSAGE else ""
    return f"{finding.expectation} on {len(finding.keys)} rows ({', '.join(finding.keys[:_KEYS_IN_MESSAGE])}{more})"
