"""What the pictures of an index can be filtered by: the values of its columns, each with its condition."""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Literal

import pandas as pd
from pydantic import BaseModel, Field

_HIDDEN = frozenset(
    ("picture_id", "name", "path", "sha256", "offset", "length", "group", "split", "inode", "caption", "title",
     "description", "sidecar", "zone")
)  # fmt: skip
_FOLDER = "folder"
_MOST_VALUES, _MOST_FOLDERS, _MOST_MONTHS = 40, 200, 240


class FacetValue(BaseModel):
    """One value of a column."""

    value: str
    count: int = Field(description="pictures that have it")
    condition: str = Field(description="in SQL, as a filter takes it")


class Facet(BaseModel):
    """One column: its values, or its range."""

    name: str
    kind: Literal["choice", "number", "date"]
    values: list[FacetValue] = []
    least: float | str | None = None
    most: float | str | None = None


class FacetsReply(BaseModel):
    """What filters can be made of."""

    facets: list[Facet]


def list_facets(table: pd.DataFrame) -> list[Facet]:
    """Describe the columns of the pictures' table that tell pictures apart; of dates, the months as well."""
    columns = [str(name) for name in table.columns if name not in _HIDDEN]
    return [facet for name in columns for facet in _describe_column(name, table[name].dropna())]


def _describe_column(name: str, known: pd.Series) -> Iterator[Facet]:
    try:
        values = known.nunique()
    except TypeError:  # lists, which no field can ask for
        return
    if values < 2:
        return
    if pd.api.types.is_datetime64_any_dtype(known):
        yield Facet(name=name, kind="date", least=str(known.min().date()), most=str(known.max().date()))
        months = known.dt.strftime("%Y-%m").value_counts().to_dict()
        if len(months) > 1:
            yield _make_choice(f"month_{name}", months, _MOST_MONTHS, f"strftime({_quote(name)}, '%Y-%m') = {{value}}")
    elif pd.api.types.is_numeric_dtype(known) and not pd.api.types.is_bool_dtype(known):
        yield Facet(name=name, kind="number", least=float(known.min()), most=float(known.max()))
    else:
        counts = {str(value): int(count) for value, count in known.astype(str).value_counts().items()}
        if max(counts.values()) == 1:
            return  # every picture has its own
        if name == _FOLDER:
            yield _describe_folders(counts)
        else:
            yield _make_choice(name, counts, _MOST_VALUES, f"{_quote(name)} = {{value}}")


def _describe_folders(counts: Mapping[str, int]) -> Facet:
    """Describe folders, and those that they lie in with all that is below; one that holds everything says nothing."""
    below: Counter[str] = Counter()
    for folder, count in counts.items():
        parts = folder.split("/")
        below.update({"/".join(parts[:depth]): count for depth in range(1, len(parts))})
    whole = sum(counts.values())
    parents = {folder: count + counts.get(folder, 0) for folder, count in below.items()}
    parents = {folder: count for folder, count in parents.items() if folder and count < whole}
    tree = "(folder = {value} or starts_with(folder, {start}))"
    facet = _make_choice(_FOLDER, {**counts, **parents}, _MOST_FOLDERS, '"folder" = {value}')
    for each in facet.values:
        if each.value in parents:
            each.condition = tree.format(value=_write_text(each.value), start=_write_text(f"{each.value}/"))
    return facet


def _make_choice(name: str, counts: Mapping[str, int], most: int, condition: str) -> Facet:
    """Make a facet of the `most` values that most pictures have; `condition` has a place for {value}."""
    kept = sorted(sorted(counts, key=lambda value: -counts[value])[:most])
    values = [
        FacetValue(value=each, count=counts[each], condition=condition.replace("{value}", _write_text(each)))
        for each in kept
    ]
    return Facet(name=name, kind="choice", values=values)


def _quote(name: str) -> str:
    doubled = name.replace('"', '""')
    return f'"{doubled}"'


def _write_text(value: str) -> str:
    doubled = value.replace("'", "''")
    return f"'{doubled}'"
