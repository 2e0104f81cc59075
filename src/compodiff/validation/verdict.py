"""From findings to a verdict: which rows go on, which are quarantined, and whether the pipeline stops."""

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from compodiff.params import SimilarityFloors, ValidationParams
from compodiff.validation.suite import MANIFEST, ExpectationResult, find

_KEYS_IN_RESULT, _KEYS_IN_MESSAGE, _REASONS_IN_MESSAGE = 20, 3, 3


@dataclass(frozen=True)
class Verdict:
    """What became of the triplets.

    Attributes:
        accepted: rows that failed nothing, with the columns of the manifest.
        quarantine: the other rows, with evidence and a column `failed` that names the expectations.
        findings: what each expectation found.
        shards: the same of each shard by itself: its rows, how many are quarantined, whether it would pass alone, and
            for each expectation that some of its rows fail how many do.
    """

    accepted: pd.DataFrame
    quarantine: pd.DataFrame
    findings: list[ExpectationResult]
    shards: dict[str, dict[str, Any]]

    @property
    def passed(self) -> bool:
        """Whether every expectation holds for enough rows."""
        return all(finding.passed for finding in self.findings)

    def describe_reasons(self) -> str:
        """Name the first expectations that failed and their first rows, in one line."""
        failed = [_describe_reason(finding) for finding in self.findings if not finding.passed]
        more = len(failed) - _REASONS_IN_MESSAGE
        return "; ".join(failed[:_REASONS_IN_MESSAGE] + [f"and {more} more"] * (more > 0))

    def to_json(self) -> dict[str, Any]:
        """Return the verdict as JSON types."""
        return {
            "passed": self.passed,
            "accepted": len(self.accepted),
            "quarantined": len(self.quarantine),
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


def validate_triplets(rows: pd.DataFrame, floors: SimilarityFloors, params: ValidationParams, *, docs: Path) -> Verdict:
    """Hold the suite against triplets with their evidence (`add_evidence`).

    Where the table as a whole is at fault (its columns, its size), all rows are quarantined.

    Args:
        rows: accepted rows of the manifest, with evidence; without evidence if the manifest has not its schema.
        floors: what the filters let through; scores below it are faults.
        params: what is tolerated.
        docs: folder for the Data Docs.
    """
    findings = find(rows, floors, params, docs)
    of_table = [finding.expectation for finding in findings if not finding.passed and not finding.keys]
    failed: defaultdict[str, list[str]] = defaultdict(lambda: list(of_table))
    for finding in findings:
        for key in finding.keys:
            failed[key].append(finding.expectation)
    keys = rows["key"].astype(str) if "key" in rows else pd.Series("", rows.index)
    names = keys.map(lambda key: ", ".join(failed.get(key, of_table)))
    return Verdict(
        accepted=rows.loc[names == "", [column for column in rows if column in MANIFEST]].reset_index(drop=True),
        quarantine=rows.assign(failed=names)[names != ""].reset_index(drop=True),
        findings=findings,
        shards=_judge_shards(rows, names, findings),
    )


def _judge_shards(
    rows: pd.DataFrame, failed: pd.Series, findings: list[ExpectationResult]
) -> dict[str, dict[str, Any]]:
    """Judge each shard of the table by what was found of its rows."""
    if not {"key", "shard"} <= set(rows):
        return {}
    shard_of = rows.drop_duplicates("key").set_index("key")["shard"]
    unexpected: defaultdict[str, dict[str, int]] = defaultdict(dict)
    for finding in findings:
        for name, count in shard_of.reindex(list(finding.keys)).value_counts().items():
            unexpected[str(name)][finding.expectation] = int(count)
    tolerated = {finding.expectation: finding.tolerated for finding in findings}
    quarantined = (failed != "").groupby(rows["shard"]).agg(["size", "sum"])
    return {
        str(name): {
            "triplets": int(size),
            "quarantined": int(count),
            "passed": all(many <= tolerated[which] * size for which, many in unexpected[str(name)].items()),
            "unexpected": unexpected[str(name)],
        }
        for name, size, count in quarantined.itertuples()
    }


def _describe_reason(finding: ExpectationResult) -> str:
    if not finding.keys:
        return f"{finding.expectation} found {finding.observed}"
    more = ", ..." if len(finding.keys) > _KEYS_IN_MESSAGE else ""
    return f"{finding.expectation} on {len(finding.keys)} rows ({', '.join(finding.keys[:_KEYS_IN_MESSAGE])}{more})"
