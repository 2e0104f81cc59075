"""A folder that is indexed while it is searched already: what is encoded can be found, and the rest comes.

Each step adds pictures to the index that stands, so a server that is killed goes on at the next start.
"""

import logging
import threading
import time
from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path

import torch
from tqdm import tqdm

from compodiff.encoders import Encoder, load_encoder
from compodiff.errors import CompoDiffError
from compodiff.images import PictureListing
from compodiff.index.changes import has_changed
from compodiff.index.comparing import list_not_held
from compodiff.index.folder import BuildPlan, build_folder_index
from compodiff.index.manifest import read_manifest
from compodiff.index.sources import Sources
from compodiff.index.stamp import stamp
from compodiff.params import load_params
from compodiff.project import find_params_file
from compodiff.search.locate import ChosenModel, find_model_parts
from compodiff.serving.waking import Tell

_log = logging.getLogger("compodiff.serving")
FIRST = 32  # pictures, before the server answers
_LARGEST = 4_096  # pictures of a step
_MANY = 1_000  # pictures, from which on compiling the encoder takes less time than it saves
_SHARE = 2  # a step adds as many pictures as this part of those that stand: writing them costs that much each time


class FolderIndexer:
    """Brings the index of a folder up to date, a step at a time."""

    def __init__(
        self,
        folder: Path,
        index: Path,
        model: ChosenModel,
        tell: Tell,
        *,
        is_quiet: bool = False,
    ) -> None:
        """Take the folder, where its index stands or will, and the model; `tell`, and a bar, are told how far it is."""
        self._folder, self._index, self._model, self._tell = folder, index, model, tell
        self._params = load_params(find_params_file()).index
        self._started = time.monotonic()
        self._done, self._todo, self._bar = 0, 0, tqdm(disable=True)
        self._is_quiet = is_quiet

    def begin(self) -> None:
        """Make an index where there is none that the model can search: of the first pictures, or of all anew.

        Raises:
            CompoDiffError: no picture can be read, or the index cannot be written.
        """
        listing = Sources.read_beside(self._index, self._folder).list_pictures()
        if stamp(self._index) == (0, 0):
            self._expect(len(listing.files))
            for files in self._divide(listing.files):
                if self._add(files, listing, is_last=self._done >= self._todo):
                    return
        elif read_manifest(self._index).encoder != self._encoder.manifest:
            self._expect(len(listing.files))
            self._build(BuildPlan(self._count(listing.files), listing))

    def run_in_background(self) -> threading.Thread:
        """Index what is left, in a thread that does not hold the process up when it is to end."""
        thread = threading.Thread(target=self.run, name="indexing", daemon=True)
        thread.start()
        return thread

    def run(self) -> None:
        """Index what is left; what goes wrong is told, and the server goes on answering."""
        try:
            listing = Sources.read_beside(self._index, self._folder).list_pictures()
            left = list_not_held(self._index, self._folder, listing)
            self._expect(len(left))
            for files in self._divide(left):
                self._build(BuildPlan(self._count(files), listing, keep=True))
            if has_changed(self._index, self._folder, listing):
                self._tell("indexing what has changed", 0.99)
                self._build(BuildPlan(listing.files, listing))
        except Exception as error:  # whatever it is, also a GPU without memory: the thread ends, and the page says why
            if not isinstance(error, CompoDiffError | OSError):
                _log.exception("indexing has stopped")
            self._tell(f"indexing has stopped: {str(error) or type(error).__name__}", 1.0)
        else:
            self._tell("", 1.0)
        finally:
            self._bar.close()

    def _expect(self, count: int) -> None:
        self._bar.close()
        self._started, self._done, self._todo = time.monotonic(), 0, count
        is_hidden = True if self._is_quiet or not count else None  # None: where stderr is no terminal
        self._bar = tqdm(total=count, desc="indexing", unit=" pictures", disable=is_hidden)

    def _divide(self, files: list[Path]) -> Iterator[list[Path]]:
        """Yield the files of each step: few at first, then as many as the index has already, or half of them."""
        at = 0
        while at < len(files):
            held = 0 if stamp(self._index) == (0, 0) else read_manifest(self._index).count
            size = min(max(FIRST, held // _SHARE), _LARGEST)
            yield files[at : at + size]
            at += size

    def _count(self, files: Iterable[Path]) -> Iterator[Path]:
        """Yield the files, and tell how far it is."""
        for path in files:
            if not self._done:
                self._started = time.monotonic()  # the encoder has been opened
            yield path
            self._done += 1
            self._bar.update()
            self._tell(self._describe(), min(self._done / max(1, self._todo), 0.99))

    def _describe(self) -> str:
        spent = time.monotonic() - self._started
        seconds = spent / self._done * (self._todo - self._done)
        left = f"{round(seconds / 60)} min" if seconds >= 90 else f"{max(1, round(seconds))} s"
        return f"indexing: {self._done:,} of {self._todo:,} pictures, about {left} left"

    def _add(self, files: list[Path], listing: PictureListing, *, is_last: bool) -> bool:
        """Add pictures to the index that is to be; return whether it stands: it does not if none could be read."""
        try:
            self._build(BuildPlan(self._count(files), listing, keep=True))
        except CompoDiffError:
            if is_last or stamp(self._index) != (0, 0) or self._done >= self._todo:
                raise
            return False
        return True

    def _build(self, todo: BuildPlan) -> None:
        made_by = self._model.to_json()
        plan = BuildPlan(todo.files, todo.listing, keep=todo.keep, made_by=made_by, is_quiet=True)
        encoder = self._compiled_encoder if self._todo > _MANY else self._encoder
        build_folder_index(self._folder, self._index, encoder, self._params, plan)

    @cached_property
    def _encoder(self) -> Encoder:
        """The model's encoder, apart from the one that answers: ready at once, for few pictures."""
        return load_encoder(find_model_parts(self._model).encoder, whole=torch.cuda.is_available()).move_to_gpu()

    @cached_property
    def _compiled_encoder(self) -> Encoder:
        """The same, ready later, for many pictures."""
        return load_encoder(find_model_parts(self._model).encoder).prepare_for_many()
