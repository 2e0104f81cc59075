"""Conditions on the pictures' metadata, as in SQL: `folder = 'summer' and size > 100000`. The only user of DuckDB.

A condition may come from a stranger. It is parsed first, and everything but comparisons, arithmetic and a list of
functions is refused; DuckDB itself has no access to files or the network, and is interrupted where it takes long.
"""

import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from cachetools import LRUCache
from numpy.typing import NDArray

from compodiff.errors import InputInvalid
from compodiff.index.segments.tables import ROW as _ROW

if TYPE_CHECKING:
    import duckdb

Rows = NDArray[np.int64]

_MOST_SECONDS = 20.0  # of one condition
_BETWEEN_INTERRUPTS = 0.05  # seconds
_KEPT_BYTES = 2**28  # of rows that conditions found and that are remembered
_CLASSES = frozenset(
    ("CONJUNCTION", "COMPARISON", "COLUMN_REF", "CONSTANT", "FUNCTION", "OPERATOR", "BETWEEN", "CASE", "CAST", "TYPE")
)
_FUNCTIONS = frozenset(
    ("+", "-", "*", "/", "%", "//", "~~", "!~~", "~~*", "!~~*", "||", "~", "abs", "round", "floor", "ceil", "lower",
     "upper", "trim", "length", "contains", "starts_with", "prefix", "ends_with", "suffix", "regexp_matches",
     "regexp_full_match", "year", "month", "day", "hour", "dayofweek", "date_part", "date_trunc", "strftime",
     "coalesce")
)  # fmt: skip
_SETTINGS: dict[str, Any] = {
    "threads": 1,
    "memory_limit": "512MB",
    "enable_external_access": False,
    "autoload_known_extensions": False,
    "autoinstall_known_extensions": False,
    "lock_configuration": True,
}
_COMMON = "folder, name, caption, size, modified"


class Filters:
    """The metadata of one index, asked by condition; safe to use from many threads."""

    def __init__(self, table: pd.DataFrame, files: Sequence[Path] = ()) -> None:
        """Take the pictures' table; its order is that of the rows that are returned.

        Where it is too large for memory, it is empty, and `files` are the parquet files that hold it, with the numbers
        of their rows. Of these only the columns that a condition names are read.
        """
        self.columns = [str(name) for name in table.columns]
        self._table = table.assign(**{_ROW: np.arange(len(table))})
        self._files = [str(file.resolve()) for file in files]
        self._alone = threading.Lock()
        self._kept: LRUCache[str, Rows] = LRUCache(_KEPT_BYTES, getsizeof=lambda rows: rows.nbytes + len(_ROW))

    def find_rows(self, condition: str) -> Rows:
        """Return rows of the pictures for which `condition` holds, ascending.

        Raises:
            InputInvalid: it does not parse, is not a condition, or names a column that is not there, or none.
        """
        with self._alone:
            rows = self._kept.get(condition)
            if rows is None:
                rows = self._query_rows(condition)
                with suppress(ValueError):  # more than all that is kept
                    self._kept[condition] = rows
            return rows

    def _query_rows(self, condition: str) -> Rows:
        # DuckDB complains on stderr of what is alive when Python ends: no connection outlives its question, and no
        # module holds it, as typing's caches keep modules.
        import duckdb

        with duckdb.connect(":memory:") as database:
            if self._files:
                database.execute("set allowed_paths = $1", [self._files])
            for name, value in _SETTINGS.items():
                database.execute(f"set {name} = $1", [value])
            with _interrupt_late(database, condition):
                self._require_harmless(database, condition)
                if self._files:
                    database.read_parquet(self._files, union_by_name=True).create_view("pictures")
                else:
                    database.register("pictures", self._table)
                return self._run_condition(database, condition)

    def _run_condition(self, database: "duckdb.DuckDBPyConnection", condition: str) -> Rows:
        import duckdb

        try:
            found = database.execute(f'select "{_ROW}" from pictures where (\n{condition}\n) order by 1')  # noqa: S608
            return np.asarray(found.fetchnumpy()[_ROW], dtype=np.int64)
        except duckdb.BinderException as error:
            known = ", ".join(self.columns)
            raise InputInvalid(
                f"the filter {_quote(condition)} does not fit: {_shorten_error(error)}; columns are {known}"
            ) from error
        except duckdb.Error as error:
            raise InputInvalid(f"the filter {_quote(condition)} cannot be answered: {_shorten_error(error)}") from error

    def _require_harmless(self, database: "duckdb.DuckDBPyConnection", condition: str) -> None:
        statement = _parse(database, condition)
        nodes = list(_walk_nodes(statement["select_list"]))
        classes = {node["class"] for node in nodes}
        if strange := classes - _CLASSES:
            what = min(strange).lower()
            raise InputInvalid(f"the filter {_quote(condition)} holds a {what}; compare columns with values")
        functions = {node["function_name"].lower() for node in nodes if node["class"] == "FUNCTION"}
        if strange := functions - _FUNCTIONS:
            raise InputInvalid(
                f"the filter {_quote(condition)} calls {min(strange)}, which no filter may call; see the docs"
            )
        if "COLUMN_REF" not in classes:
            raise InputInvalid(f"the filter {_quote(condition)} names no column; columns are {', '.join(self.columns)}")
        # Where a ) of the condition ends the ( that stands before it, it does not parse without that.
        if _parse_select(database, condition, condition)["error"]:
            raise InputInvalid(f"the filter {_quote(condition)} is not one condition; join several by and")


def _parse(database: "duckdb.DuckDBPyConnection", condition: str) -> Mapping[str, Any]:
    """Return the only select of `select (condition)`, which has nothing but its list."""
    tree, plain = _parse_select(database, f"(\n{condition}\n)", condition), _parse_select(database, "true", condition)
    if tree["error"]:
        reason = " ".join(str(tree["error_message"]).split())
        raise InputInvalid(f"the filter {_quote(condition)} does not parse: {reason}; columns are {_COMMON}, ...")
    nodes, (empty,) = ([each["node"] for each in parsed["statements"]] for parsed in (tree, plain))
    is_alone = [{**node, "select_list": []} for node in nodes] == [{**empty, "select_list": []}]
    if not is_alone or len(nodes[0]["select_list"]) != 1:
        raise InputInvalid(f"the filter {_quote(condition)} is not one condition; join several by and")
    node: Mapping[str, Any] = nodes[0]
    return node


def _parse_select(database: "duckdb.DuckDBPyConnection", listed: str, condition: str) -> Mapping[str, Any]:
    import duckdb

    try:
        (answer,) = database.execute("select json_serialize_sql(?)", [f"select {listed}"]).fetchall()
    except duckdb.Error as error:
        raise InputInvalid(f"the filter {_quote(condition)} does not parse: {_shorten_error(error)}") from error
    tree: Mapping[str, Any] = json.loads(answer[0])
    return tree


@contextmanager
def _interrupt_late(database: "duckdb.DuckDBPyConnection", condition: str) -> Iterator[None]:
    """Interrupt what the block asks the database where it takes more than `_MOST_SECONDS`.

    Raises:
        InputInvalid: it did, whatever the database made of it.
    """
    import duckdb

    is_done, was_late = threading.Event(), threading.Event()

    def interrupt() -> None:
        ended = is_done.wait(_MOST_SECONDS)
        while not ended:  # again and again: an interrupt between two statements of the block is forgotten
            was_late.set()
            database.interrupt()
            ended = is_done.wait(_BETWEEN_INTERRUPTS)

    watcher = threading.Thread(target=interrupt, daemon=True)
    watcher.start()
    try:
        yield
    except (InputInvalid, duckdb.Error) as error:
        if was_late.is_set():
            said = f"the filter {_quote(condition)} takes more than {_MOST_SECONDS:g} s; ask for less"
            raise InputInvalid(said) from error
        raise
    finally:
        is_done.set()
        watcher.join()  # no connection is closed while another thread holds it


def _walk_nodes(tree: Any) -> Iterator[dict[str, Any]]:
    """Yield every expression of a parsed statement."""
    if isinstance(tree, dict):
        if "class" in tree:
            yield tree
        for child in tree.values():
            yield from _walk_nodes(child)
    elif isinstance(tree, list):
        for child in tree:
            yield from _walk_nodes(child)


def _shorten_error(error: "duckdb.Error") -> str:
    return str(error).partition("\n\nLINE")[0].partition(": ")[2].replace("\n", " ")


def _quote(condition: str) -> str:
    return repr(condition if len(condition) <= 120 else f"{condition[:120]}...")
