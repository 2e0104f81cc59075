"""What is being served: a model and an index, exchanged as a whole while queries go on.

A query keeps the pair that it began with, so nothing is dropped when the champion's alias moves or an index is
replaced.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from compodiff.encoders.reranking import Reranking
from compodiff.errors import CompoDiffError
from compodiff.index.index import Index
from compodiff.index.segments.tables import PictureRows
from compodiff.index.stamp import stamp
from compodiff.search.composer import Composer
from compodiff.search.guesses import make_meaningless_texts
from compodiff.search.query import Query
from compodiff.search.searcher import Searcher
from compodiff.signing.chain import read_origin, require_intact
from compodiff.tracking.traces import TRAINED_IN

_KNOWN_ELSEWHERE = frozenset(("picture_id", "name", "sha256", "offset", "length", "group"))
log = logging.getLogger("compodiff.serving")


@dataclass(frozen=True)
class ServedPaths:
    """Where a model and an index are now.

    Attributes:
        model: what was asked for: the address of an alias, or a folder.
        version: what that stands for now, in words.
        composed, encoder, index: their folders.
        pictures_root: where the pictures are, if not where the index says.
        attribution: whose the pictures are; "" for nothing.
        identity: what names model and index as they are on disk, see `LocatedSearch.identify`; "" where nobody asks.
    """

    model: str
    version: str
    composed: Path
    encoder: Path
    index: Path
    pictures_root: Path | None = None
    attribution: str = ""
    identity: str = field(default="", compare=False)


class Metadata:
    """What is known of the pictures of an index besides their ids and names, ready to be sent."""

    def __init__(self, table: pd.DataFrame, stored: PictureRows | None = None) -> None:
        """Take the pictures' table, or its rows where it is too large for memory.

        Dates become ISO 8601, what is missing or not finite None.
        """
        self._stored = stored
        self._columns = {
            str(name): _convert_column(table[name]) for name in table.columns if name not in _KNOWN_ELSEWHERE
        }

    def read_rows(self, rows: Sequence[int]) -> list[dict[str, Any]]:
        """Return the metadata of the pictures in `rows`."""
        if self._stored is not None:
            return Metadata(self._stored.read(rows)).read_rows(range(len(rows)))
        return [{name: column[row] for name, column in self._columns.items()} for row in rows]


@dataclass(frozen=True)
class ServedModel:
    """A model and an index, opened; `trained_in` names the trace of its training, if that was traced."""

    searcher: Searcher
    places: ServedPaths
    index_written: tuple[int, int]  # of its manifest: time and inode
    metadata: Metadata
    trained_in: str = ""


class Champion:
    """The pair that new queries get."""

    def __init__(self, locate: Callable[[], ServedPaths], reranking: Reranking | None = None) -> None:
        """Open what `locate` finds now; `reranking` looks at the first pictures of each answer again.

        Raises:
            CompoDiffError: it cannot be opened.
        """
        self._locate, self._reranking = locate, reranking
        self.fault = ""  # why the pair is not the newest; "" where it is
        self.reloads = 0
        self.on_change: Callable[[ServedModel], None] = lambda live: None
        places = locate()
        require_intact(places.composed.parent)
        self.live = _open_live(places, Composer.load(places.composed, places.encoder), reranking)

    def refresh(self) -> None:
        """Open what `locate` finds now if it is another; on any fault keep what is served, and say why."""
        old = self.live
        try:
            places = self._locate()
            if (places, stamp(places.index)) == (old.places, old.index_written):
                self.fault = ""
                return
            require_intact(places.composed.parent)
            same_model = (places.composed, places.encoder) == (old.places.composed, old.places.encoder)
            composer = old.searcher.composer if same_model else Composer.load(places.composed, places.encoder)
            self.live = _open_live(places, composer, self._reranking)
            self.on_change(self.live)
        except Exception as error:  # whatever it is, also a GPU without memory: who follows an alias goes on
            said = str(error) or type(error).__name__
            if said != self.fault:
                unforeseen = not isinstance(error, CompoDiffError | OSError)
                log.warning("still serving %s: %s", old.places.version, said, exc_info=unforeseen)
            self.fault = said
            return
        self.fault = ""
        self.reloads += 1
        log.info("now serving %s over %s", places.version, places.index)


def _open_live(places: ServedPaths, composer: Composer, reranking: Reranking | None) -> ServedModel:
    """Open the index and let it answer, so that no first query of a kind is slower than others."""
    written = stamp(places.index)
    index = Index.load(places.index)
    searcher = Searcher(composer, index, places.pictures_root, reranking)
    searcher.answer(Query(next(iter(index.row)), "warm", k=1))
    searcher.answer(Query(None, make_meaningless_texts(1)[0], k=1))  # reads names, and measures what a guess is
    trained_in = str(read_origin(places.composed.parent).get(TRAINED_IN, ""))
    return ServedModel(searcher, places, written, Metadata(index.pictures, index.rows), trained_in)


def _convert_column(column: pd.Series) -> list[Any]:
    if pd.api.types.is_datetime64_any_dtype(column):
        column = column.dt.strftime("%Y-%m-%dT%H:%M:%S")
    known = column.notna()
    if pd.api.types.is_float_dtype(column):
        known &= column.abs() != float("inf")
    values: list[Any] = column.astype(object).where(known, None).tolist()
    return [value if value is None or isinstance(value, bool | int | float | str) else str(value) for value in values]
