"""Columns of a person's own table, to filter by: read once, and kept beside the index until they are replaced.

The whole table is kept, also rows of pictures that are not there yet.
"""

import io
import unicodedata
import warnings
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from compodiff.errors import InputInvalid
from compodiff.index.metadata import COLUMNS_OF_FILES
from compodiff.storage.names import make_printable
from compodiff.storage.tables import read_frame

KEYS = ("path", "picture_id", "file")  # one of these holds the picture's path from the folder
_FILE, _KEY = "columns.parquet", "path"


@dataclass(frozen=True)
class OwnColumns:
    """Values by a picture's path, which is the index of `table`; an empty table for none."""

    table: pd.DataFrame = field(default_factory=pd.DataFrame)

    @classmethod
    def read(cls, path: Path) -> "OwnColumns":
        """Read a parquet or CSV file.

        Raises:
            InputInvalid: it cannot be read, lacks a column of paths, or has a column whose name cannot be used or is
                one of the program's, in capitals or not, as filters do not tell them apart.
        """
        content = _read(path)
        key = next((name for name in content.columns if name.casefold() in KEYS), None)
        if key is None:
            raise InputInvalid(f"{path} has none of the columns {', '.join(KEYS)}; add the pictures' paths as one")
        content = content[content[key].notna()]  # a row without a path is of no picture
        values = content.drop(columns=[name for name in content.columns if name.casefold() in KEYS])
        if clash := [name for name in values.columns if name.casefold() in COLUMNS_OF_FILES]:
            raise InputInvalid(f"the column {clash[0]} of {path} is one that the index has already; rename it")
        paths = content[key].map(_convert_to_text).astype(str)
        return cls(values.apply(_make_storable).set_index(pd.Index(paths, name=_KEY)))

    def match_names(self, names: Collection[str]) -> "OwnColumns":
        """Return them by paths as the index writes them: with /, without a leading ./, accents as the file has them.

        A path that is one of `names` as it is written stays so.

        Raises:
            InputInvalid: two rows name one picture.
        """
        composed = {unicodedata.normalize("NFC", name): name for name in names if not name.isascii()}
        paths = self.table.index.map(lambda each: each if each in names else _normalise_path(each, composed))
        if twice := sorted(set(paths[paths.duplicated()]))[:1]:
            raise InputInvalid(f"your table names {make_printable(twice[0])} twice; keep one row a picture")
        return OwnColumns(self.table.set_axis(pd.Index(paths, name=_KEY)))

    @classmethod
    def read_beside(cls, index_folder: Path, pictures: pd.DataFrame) -> "OwnColumns":
        """Return those of an index; of one of an earlier make, what its table of `pictures` has besides the program's.

        Raises:
            InputInvalid: the file is damaged.
        """
        path = index_folder / _FILE
        if path.is_file():
            try:
                return cls(read_frame(path).set_index(_KEY))
            except (OSError, ValueError, KeyError) as error:
                raise InputInvalid(f"{path} is damaged; remove {index_folder} and build the index again") from error
        own = [name for name in pictures.columns if name not in COLUMNS_OF_FILES]
        return cls(pictures.set_index(_KEY)[own]) if own else cls()

    def require_none_of_ours(self) -> None:
        """Refuse columns of a table that was taken in before the index had columns of these names itself.

        Raises:
            InputInvalid: there is one.
        """
        if clash := [name for name in self.names if name.casefold() in COLUMNS_OF_FILES]:
            raise InputInvalid(
                f"the index now reads {clash[0]!r} from the pictures, and your table has a column of that name; "
                "rename it and give the table again with --columns, or drop it with --no-columns"
            )

    @property
    def names(self) -> list[str]:
        """The columns."""
        return list(self.table.columns)

    def join(self, more: "OwnColumns") -> "OwnColumns":
        """Return both as one; where both know a value, that of `more`. An empty cell leaves a value as it was.

        Raises:
            InputInvalid: they have columns that filters do not tell apart.
        """
        if not self.names:
            return more
        names = list(dict.fromkeys([*self.names, *more.names]))
        _require_names("the index's table and yours", names)
        paths = self.table.index.union(more.table.index, sort=False)
        columns = {name: _spread(_join_column(self.table.get(name), more.table.get(name)), paths) for name in names}
        return OwnColumns(pd.DataFrame(columns, index=paths).rename_axis(_KEY).apply(_make_storable))

    def select(self, names: Sequence[str]) -> pd.DataFrame:
        """Return the columns for the pictures at `names`, in their order; empty where there is no row."""
        paths = pd.Index(list(names))
        columns = {name: _spread(column, paths) for name, column in self.table.items()}
        return pd.DataFrame(columns, index=paths).reset_index(drop=True)

    def describe_unmatched(self, names: Collection[str]) -> str | None:
        """Say how many rows name no picture of `names`; None where every row does."""
        strange = [str(path) for path in self.table.index if path not in names]
        if not strange:
            return None
        return (
            f"{len(strange)} of {len(self.table)} rows of your table name no picture, "
            f"for instance {make_printable(strange[0])}"
        )

    def make_files(self) -> dict[str, Any]:
        """Return what stands beside an index for the next one."""
        return {_FILE: self.table.reset_index(names=_KEY)} if self.names else {}


def _read(path: Path) -> pd.DataFrame:
    is_parquet = path.suffix.lower() == ".parquet"
    try:
        if is_parquet:
            content = read_frame(path)
            content.columns = [str(name) for name in content.columns]
            _require_names(path, list(content.columns))
            return content
        header = pd.read_csv(path, header=None, nrows=1, dtype=str, keep_default_na=False, encoding="utf-8-sig")
        names = [str(name) for name in header.iloc[0]]
        _require_names(path, names)
        keys = {name: str for name in names if name.casefold() in KEYS}  # 007.png may be called 007
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)  # a row has more values than there are columns
            content = pd.read_csv(path, dtype=keys, index_col=False, encoding="utf-8-sig")
            return _read_whole_numbers(path, content)
    except (OSError, ValueError, pd.errors.ParserWarning) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputInvalid(f"{path} cannot be read as {path.suffix or 'CSV'}: {reason}") from error


def _read_whole_numbers(path: Path, content: pd.DataFrame) -> pd.DataFrame:
    """Read the columns of whole numbers again of which some are missing: pandas has made floats of them."""
    gaps = [
        str(name)
        for name, column in content.items()
        if column.dtype == float and column.hasnans and column.notna().any()
    ]
    if gaps:
        again = pd.read_csv(path, usecols=gaps, index_col=False, encoding="utf-8-sig", dtype_backend="numpy_nullable")
        whole = [name for name in gaps if pd.api.types.is_integer_dtype(again[name])]
        content[whole] = again[whole]
    return content


def _spread(column: "pd.Series[Any]", paths: "pd.Index[Any]") -> "pd.Series[Any]":
    """Return the values of `paths`; whole numbers stay whole where one has none."""
    if column.dtype.kind in "iu" and not paths.isin(column.index).all():
        column = column.convert_dtypes()
    return column.reindex(paths)


def _join_column(before: "pd.Series[Any] | None", given: "pd.Series[Any] | None") -> "pd.Series[Any]":
    """Return the values of both, those that were `given` in place of others; of their type if they have one."""
    new = [] if given is None else [given.dropna()]
    old = [] if before is None else [before.dropna()]
    kept = [each[~each.index.isin(new[0].index)] if new else each for each in old]
    known = [each for each in (*kept, *new) if len(each)]
    return pd.concat(known) if known else (*old, *new)[0]


def _require_names(path: Path | str, names: Sequence[str]) -> None:
    """Refuse names that a filter cannot ask for, or that it would take for one another."""
    seen: dict[str, str] = {}
    for number, name in enumerate(names, 1):
        if not name.strip():
            raise InputInvalid(f"column {number} of {path} has no name; give it one")
        if name != name.strip() or make_printable(name) != name:
            raise InputInvalid(f"the column {name!r} of {path} has spaces around it or invisible characters; rename it")
        if (other := seen.setdefault(name.casefold(), name)) != name or names.count(name) > 1:
            raise InputInvalid(f"the columns {other} and {name} of {path} cannot be told apart in a filter; rename one")


def _convert_to_text(cell: object) -> object:
    return cell.decode("utf-8", "replace") if isinstance(cell, bytes) else cell


def _make_storable(column: "pd.Series[Any]") -> "pd.Series[Any]":
    """Return a column as a table can hold it: texts where it has numbers beyond 64 bits, or values of many kinds."""
    try:
        column.to_frame().to_parquet(io.BytesIO())
    except (OverflowError, ValueError, TypeError):
        return column.map(str, na_action="ignore").astype("string")
    return column


def _normalise_path(name: str, composed: Mapping[str, str]) -> str:
    """Return a path as the index writes it; `composed` has the names that are written with accents, by one form."""
    path = name.replace("\\", "/")
    while path.startswith("./"):
        path = path[2:].lstrip("/")
    return path if path.isascii() else composed.get(unicodedata.normalize("NFC", path), path)
