"""What is being served: a model and an index, exchanged as a whole while queries go on.

A query keeps the pair that it began with, so nothing is dropped when the champion's alias moves or an index is
replaced.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from compodiff.errors import CompoDiffError
from compodiff.index.index import Index
from compodiff.index.manifest import stamp
from compodiff.search.composer import Composer
from compodiff.search.query import Query
from compodiff.search.searcher import Searcher
from compodiff.serving.metadata import Metadata

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
    """

    model: str
    version: str
    composed: Path
    encoder: Path
    index: Path
    pictures_root: Path | None = None
    attribution: str = ""


@dataclass(frozen=True)
class ServedModel:
    """A model and an index, opened."""

    searcher: Searcher
    places: ServedPaths
    index_written: tuple[int, int]  # of its manifest: time and inode
    metadata: Metadata


class Champion:
    """The pair that new queries get."""

    def __init__(self, locate: Callable[[], ServedPaths]) -> None:
        """Open what `locate` finds now.

        Raises:
            CompoDiffError: it cannot be opened.
        """
        self._locate = locate
        self.fault = ""  # why the pair is not the newest; "" where it is
        self.reloads = 0
        places = locate()
        self.live = _open_live(places, Composer.load(places.composed, places.encoder))

    def refresh(self) -> None:
        """Open what `locate` finds now if it is another; on any fault keep what is served, and say why."""
        old = self.live
        try:
            places = self._locate()
            if (places, stamp(places.index)) == (old.places, old.index_written):
                self.fault = ""
                return
            same_model = (places.composed, places.encoder) == (old.places.composed, old.places.encoder)
            composer = old.searcher.composer if same_model else Composer.load(places.composed, places.encoder)
            self.live = _open_live(places, composer)
        except (CompoDiffError, OSError) as error:
            if str(error) != self.fault:
                log.warning("still serving %s: %s", old.places.version, error)
            self.fault = str(error)
            return
        self.fault = ""
        self.reloads += 1
        log.info("now serving %s over %s", places.version, places.index)


def _open_live(places: ServedPaths, composer: Composer) -> ServedModel:
    """Open the index and let the model answer once, so that the first query is not slower than others."""
    written = stamp(places.index)
    index = Index.load(places.index)
    searcher = Searcher(composer, index, places.pictures_root)
    searcher.answer(Query(index.picture_ids[0], "warm", k=1))
    return ServedModel(searcher, places, written, Metadata(index.pictures))
