"""What is said of finished shards as a whole: manifest, report, and the split of each generated picture."""

from collections import Counter
from collections.abc import Container, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd

from compodiff.params import SimilarityFloors
from compodiff.storage import shards
from compodiff.storage.atomic import write_json
from compodiff.storage.tables import TableWriter, open_table_writer

ENDS = ("reference", "target")


def finish(folder: Path, paths: Sequence[Path], catalogued: Container[str] | None = None) -> None:
    """Write manifest.parquet and report.json over finished shards, and the split of each generated picture.

    One shard's rows are in memory at a time. A picture that was generated for two splits gets that of the first, so
    that validation rejects the other's triplets.

    Args:
        folder: of the shards.
        paths: all of them, in the order of the manifest.
        catalogued: names of the pictures that were not generated; None: nothing is said of splits.
    """
    acceptance = Acceptance()
    with (
        shards.open_merged_table(folder / "manifest.parquet") as manifest,
        _open_pictures(folder, catalogued) as pictures,
    ):
        for path in paths:
            rows = manifest.add(path)
            acceptance.add(rows)
            pictures.add(rows)
    write_json(
        folder / "report.json", acceptance.make_report() | {"shards": {p.name: shards.read_seal(p) for p in paths}}
    )


class Acceptance:
    """Counts which filters let how many candidates through."""

    def __init__(self) -> None:
        self._candidates: Counter[tuple[str, str, bool]] = Counter()  # split, relation, accepted
        self._rejections: Counter[str] = Counter()

    def add(self, rows: pd.DataFrame) -> None:
        """Count rows of the manifest; a shard of which nothing was kept has none, and no columns either."""
        if rows.empty:
            return
        self._candidates.update(zip(rows["split"], rows["relation"], rows["accepted"].astype(bool), strict=True))
        for names, count in rows["rejected_by"].value_counts().items():
            self._rejections.update(dict.fromkeys(str(names).split(","), int(count)))

    def make_report(self) -> dict[str, Any]:
        """Which fraction each filter lets through, and all of them together, over all and by relation.

        The five filters, and whatever else rejected a candidate ("unsafe").
        """
        filters = dict.fromkeys((*SimilarityFloors.model_fields, *sorted(self._rejections.keys() - {""})))
        total = self._candidates.total()
        of_relation, kept_of_relation, kept_of_split = Counter[str](), Counter[str](), Counter[str]()
        for (split, relation, accepted), count in sorted(self._candidates.items()):
            of_relation[relation] += count
            kept_of_relation[relation] += count * accepted
            kept_of_split[split] += count * accepted
        return {
            "candidates": total,
            "accepted": kept_of_split.total(),
            "accepted_by_split": dict(kept_of_split),
            "accepted_by_filter": {name: 1 - self._rejections[name] / total for name in filters},
            "accepted_by_relation": {name: kept_of_relation[name] / count for name, count in of_relation.items()},
            "candidates_by_relation": dict(of_relation),
        }


def measure_acceptance(rows: pd.DataFrame) -> dict[str, Any]:
    """The report of `Acceptance` on a whole manifest."""
    counted = Acceptance()
    counted.add(rows)
    return counted.make_report()


class _SplitTable:
    """Writes the split of every generated picture once."""

    def __init__(self, table: TableWriter, catalogued: Container[str]) -> None:
        self._table = table
        self._catalogued = catalogued
        self._met: set[str] = set()  # names that other triplets may have, too

    def add(self, rows: pd.DataFrame) -> None:
        if rows.empty:
            return
        for key, split, *names in rows[["key", "split", *ENDS]].itertuples(index=False):
            for end, name in zip(ENDS, names, strict=True):
                if name in self._catalogued or name in self._met:
                    continue
                if name != f"{key}-{end}":
                    self._met.add(name)
                self._table.add({"picture_id": name, "split": split})


class _NoSplitTable:
    def add(self, rows: pd.DataFrame) -> None:
        pass


@contextmanager
def _open_pictures(folder: Path, catalogued: Container[str] | None) -> Iterator[_SplitTable | _NoSplitTable]:
    if catalogued is None:
        yield _NoSplitTable()
        return
    with open_table_writer(folder / "pictures.parquet", {"picture_id": str, "split": str}) as table:
        yield _SplitTable(table, catalogued)
