"""What the pictures of an index can be filtered by: the values of its columns."""

from typing import Literal

import pandas as pd
from pydantic import BaseModel, Field

_HIDDEN = frozenset(
    ("picture_id", "name", "path", "sha256", "offset", "length", "group", "split", "inode", "caption", "title",
     "description", "sidecar", "zone")
)  # fmt: skip
_MOST_VALUES = 40


class FacetValue(BaseModel):
    """One value of a column."""

    value: str
    count: int = Field(description="pictures that have it")


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
    """Describe the columns of the pictures' table that tell pictures apart."""
    facets = [_describe_column(str(name), table[name].dropna()) for name in table.columns if name not in _HIDDEN]
    return [facet for facet in facets if facet is not None]


def _describe_column(name: str, known: pd.Series) -> Facet | None:
    try:
        values = known.nunique()
    except TypeError:  # lists, which no field can ask for
        return None
    if values < 2:
        return None
    if pd.api.types.is_datetime64_any_dtype(known):
        return Facet(name=name, kind="date", least=str(known.min().date()), most=str(known.max().date()))
    if pd.api.types.is_numeric_dtype(known) and not pd.api.types.is_bool_dtype(known):
        return Facet(name=name, kind="number", least=float(known.min()), most=float(known.max()))
    counts = known.astype(str).value_counts()
    if counts.iloc[0] == 1:
        return None  # every picture has its own
    chosen = [FacetValue(value=str(value), count=int(count)) for value, count in counts.head(_MOST_VALUES).items()]
    return Facet(name=name, kind="choice", values=sorted(chosen, key=lambda each: each.value))
