"""Columns of tables that come from several sources: each gets one type that all its values fit, or is refused."""

from collections.abc import Iterable
from typing import TypeAlias

import pandas as pd
import pyarrow as pa

from compodiff.errors import InputInvalid

Schema: TypeAlias = pa.Schema
Table: TypeAlias = pa.Table


def name_texts(*names: str) -> Schema:
    """Return columns of texts."""
    return pa.schema([(name, pa.string()) for name in names])


def make_table(frame: pd.DataFrame) -> Table:
    """Return the rows of a frame."""
    return pa.Table.from_pandas(frame, preserve_index=False)


def make_frame(tables: Iterable[Table]) -> pd.DataFrame:
    """Return the rows of tables with the same columns; whole numbers stay whole beside missing ones."""
    frame: pd.DataFrame = pa.concat_tables(tables).to_pandas(integer_object_nulls=True)
    return frame


def read_types(schema: pa.Schema) -> pa.Schema:
    """Return the columns of a file as they are indexed: values for dictionaries, and no index of pandas'."""
    fields = [field for field in schema if not field.name.startswith("__index_level_")]
    return pa.schema([(field.name, _decode(field.type)) for field in fields])


def unite(named: Iterable[tuple[str, pa.Schema]], held: tuple[str, pa.Schema] | None = None) -> pa.Schema:
    """Return the columns of all tables, each named by its file; those of `held` keep their types.

    Raises:
        InputInvalid: two tables give a column types of which no values fit both, or names that filters cannot tell
            apart.
    """
    known: dict[str, tuple[pa.DataType, str]] = {}
    fixed: set[str] = set()
    if held is not None:
        known = {field.name: (field.type, held[0]) for field in held[1]}
        fixed = {name for name, (type_, _) in known.items() if not pa.types.is_null(type_)}
    for where, schema in named:
        folded = {name.casefold(): name for name in known}
        for field in schema:
            name = field.name
            if name not in known and (like := folded.get(name.casefold())):
                raise InputInvalid(f"the column {name} of {where} is called {like} in {known[like][1]}; rename it")
            before, there = known.get(name, (pa.null(), where))
            both = _join(before, field.type)
            if both is None:
                raise InputInvalid(
                    f"the column {name} is {field.type} in {where} and {before} in {there}; "
                    "give it one type, or rename it"
                )
            known[name] = (before, there) if name in fixed else (both, where if pa.types.is_null(before) else there)
    return pa.schema([(name, type_) for name, (type_, _) in known.items()])


def fit(rows: pa.Table, schema: pa.Schema, where: str) -> pa.Table:
    """Return rows with the columns of `schema`: null where a table lacks one.

    Raises:
        InputInvalid: a value does not fit the type; `where` names its file.
    """
    columns = []
    for field in schema:
        if field.name not in rows.column_names:
            columns.append(pa.nulls(len(rows), field.type))
            continue
        column = rows[field.name]
        try:
            columns.append(column.cast(field.type))
        except pa.ArrowInvalid as error:
            reason = " ".join(str(error).split())
            raise InputInvalid(
                f"the column {field.name} is {column.type} in {where} and {field.type} in the index, which does not "
                f"hold all its values ({reason}); give it one type, or rename it"
            ) from error
    return pa.Table.from_arrays(columns, schema=schema)


def _decode(type_: pa.DataType) -> pa.DataType:
    return type_.value_type if pa.types.is_dictionary(type_) else type_


def _join(before: pa.DataType, after: pa.DataType) -> pa.DataType | None:
    """Return a type for values of both; None where they are of different kinds."""
    if pa.types.is_null(before) or pa.types.is_null(after):
        return after if pa.types.is_null(before) else before
    if _name_kind(before) != _name_kind(after):
        return None
    try:
        pair = [pa.schema([("", before)]), pa.schema([("", after)])]
        return pa.unify_schemas(pair, promote_options="permissive").field(0).type
    except (pa.ArrowTypeError, pa.ArrowInvalid):
        return None


def _name_kind(type_: pa.DataType) -> str:
    if pa.types.is_integer(type_) or pa.types.is_floating(type_) or pa.types.is_decimal(type_):
        return "number"
    if pa.types.is_string(type_) or pa.types.is_large_string(type_) or pa.types.is_string_view(type_):
        return "text"
    if pa.types.is_date(type_) or pa.types.is_timestamp(type_):
        return f"time {getattr(type_, 'tz', None) is None}"
    return str(type_)
