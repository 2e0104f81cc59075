"""From findings to a verdict: which rows go on, which are quarantined, and whether the pipeline stops."""

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from compodiff.pairs.similarity import judge
from compodiff.params import SetParams, SimilarityFloors, ValidationParams
from compodiff.storage.row_file import open_row_file
from compodiff.validation.rows import Judged, frame_rows
from compodiff.validation.suite import SAME, ExpectationResult, Suite

_KEYS_IN_RESULT, _KEYS_IN_MESSAGE, _REASONS_IN_MESSAGE = 20, 3, 3
_SCORES = tuple(SimilarityFloors.model_fields)
_SAID = ("key", "shard", "split", *_SCORES)
_BELOW = "below"  # column: the filters that a row fails, "" for none


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
                    "unexpected": finding.unexpected,
                    "keys": list(finding.keys),
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
        docs: folder for the Data Docs; rows wait beside it, on disk.

    Yields:
        For each group of rows what was said of them (key, shard, split, scores, relation, accepted, rejected_by), and
        the rows in quarantine with a column `failed`; at last the verdict.
    """
    kind = judged.training_set.description.kind
    suite = Suite(kind, validation, docs)
    verdict = Verdict(np.zeros(len(judged.embeddings.open_array("keys")), np.bool_))
    merged: dict[str, ExpectationResult] = {}
    with open_row_file(docs.parent) as file:
        file.write(_apply_floors(rows, params.floors) for rows in frame_rows(judged, validation.rows_at_once))
        repeated_keys = file.find_repeated(["key"])
        repeated_rows = file.find_repeated(SAME[kind], f"{_BELOW} = ''")
        for number, rows in enumerate(file.read()):
            below = rows.pop(_BELOW)
            verdict.dropped.update(name for names in below[below != ""] for name in names.split(","))
            rows["is_key_repeated"] = np.isin(rows["row"], repeated_keys, assume_unique=True)
            rows["is_row_repeated"] = np.isin(rows["row"], repeated_rows, assume_unique=True)
            examined = rows[below == ""]
            findings = suite.find(examined, f"{kind} {number}") if len(examined) else []
            failed = _name_failures(examined, findings)
            _note(verdict, merged, examined, failed, findings)
            reasons = below.where(below != "", failed.reindex(rows.index, fill_value=""))
            said = rows[list(_SAID)].assign(relation=rows.get("relation", ""))
            yield said.assign(accepted=reasons == "", rejected_by=reasons), examined.assign(failed=failed)[failed != ""]
    verdict.findings = [_judge_all(it, verdict.examined) for it in merged.values()]
    verdict.findings.append(_count_rows(judged, verdict, params.min_rows))
    yield verdict


def _apply_floors(rows: pd.DataFrame, floors: SimilarityFloors | None) -> pd.DataFrame:
    """Add to rows by which filters they fail."""
    return rows.assign(**{_BELOW: judge(rows[list(_SCORES)], floors)})


def _name_failures(rows: pd.DataFrame, findings: list[ExpectationResult]) -> "pd.Series[str]":
    """Name the expectations that each row fails; where the table as a whole is at fault, every row fails."""
    of_table = [finding.expectation for finding in findings if not finding.passed and not finding.keys]
    failed: defaultdict[str, list[str]] = defaultdict(lambda: list(of_table))
    for finding in findings:
        for key in set(finding.keys):  # a key may stand in several rows
            failed[key].append(finding.expectation)
    named = pd.Series(", ".join(of_table), rows.index, dtype="str")
    at_fault = rows["key"].isin(list(failed))
    named[at_fault] = rows.loc[at_fault, "key"].map(lambda key: ", ".join(failed[key]))
    return named


def _note(
    verdict: Verdict,
    merged: dict[str, ExpectationResult],
    examined: pd.DataFrame,
    failed: "pd.Series[str]",
    findings: list[ExpectationResult],
) -> None:
    """Add what was found of a group of rows to the verdict, and to the findings of all rows together."""
    verdict.examined += len(examined)
    verdict.accepted[examined.loc[failed == "", "row"]] = True
    verdict.shards |= _count_by_shard(examined, failed, findings)
    for finding in findings:
        of_table = not finding.passed and not finding.keys
        known = merged.get(finding.expectation, replace(finding, keys=(), passed=True, observed="", unexpected=0))
        merged[finding.expectation] = replace(
            known,
            passed=known.passed and not of_table,
            keys=(*known.keys, *finding.keys)[:_KEYS_IN_RESULT],
            observed=known.observed or (finding.observed if of_table else ""),
            unexpected=known.unexpected + finding.unexpected,
        )


def _judge_all(finding: ExpectationResult, examined: int) -> ExpectationResult:
    """Judge what was found of all rows together: the tolerated fraction is of all rows."""
    return replace(finding, passed=finding.passed and finding.unexpected <= finding.tolerated * examined)


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
    for finding in (it for it in findings if it.keys):
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
    more = ", ..." if finding.unexpected > _KEYS_IN_MESSAGE else ""
    return f"{finding.expectation} on {finding.unexpected} rows ({', '.join(finding.keys[:_KEYS_IN_MESSAGE])}{more})"
