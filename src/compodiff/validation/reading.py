"""Read what the stage validate said of a set: artifacts/sets/NAME has artifacts/validation/NAME."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd

from compodiff.errors import InputInvalid
from compodiff.params import SimilarityFloors, load_params
from compodiff.project import find_project_root
from compodiff.storage.tables import iterate_table, read_table

ROWS, QUARANTINE = "rows.parquet", "quarantine.parquet"


def find_validated(dataset: Path) -> Path | None:
    """Return the folder that validate wrote for the set in `dataset`, if it is there; it may be named itself."""
    folder = dataset.resolve()
    if (folder / ROWS).is_file():
        return folder
    validated = folder.parent.parent / "validation" / folder.name
    return validated if folder.parent.name == "sets" and (validated / ROWS).is_file() else None


def read_validated(dataset: Path, validated: Path | None = None) -> pd.DataFrame:
    """Read what was said of each row of a set: key, shard, split, scores, relation, accepted, rejected_by.

    Args:
        dataset: folder of the set.
        validated: folder that validate wrote; None finds it.

    Raises:
        InputInvalid: the set was not validated.
    """
    folder = validated or find_validated(dataset)
    if folder is None:
        raise InputInvalid(f"{dataset} was not validated; run: dvc repro validate@{dataset.name}")
    return read_table(folder / ROWS, remedy=f"run: dvc repro validate@{dataset.name}")


def iterate_validated(dataset: Path, validated: Path, sizes: Sequence[int]) -> Iterator[pd.DataFrame]:
    """Yield what was said of rows, as `read_validated` gives it, in pieces of these sizes, and then what is left.

    A piece is shorter where rows end before it does.

    Raises:
        InputInvalid: the table is missing or damaged.
    """
    remedy = f"run: dvc repro validate@{dataset.name}"
    groups = iterate_table(validated / ROWS, remedy=remedy)
    held = next(groups, pd.DataFrame())
    for size in (*sizes, 1):
        while len(held) < size and (more := next(groups, None)) is not None:
            held = pd.concat([held, more])
        yield held.iloc[:size]
        held = held.iloc[size:]


def read_floors(dataset: Path) -> SimilarityFloors | None:
    """Return the floors of a set of this project's params.yaml; None where it has none, or is not named there."""
    try:
        root = find_project_root(dataset)
    except InputInvalid:
        return None
    own = load_params(root / "params.yaml").sets.get(dataset.resolve().name)
    is_here = dataset.resolve().parent in (root / "artifacts" / "sets", root / "artifacts" / "validation")
    return own.floors if own is not None and is_here else None
