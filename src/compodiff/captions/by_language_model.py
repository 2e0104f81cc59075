"""Language-model captions from any caption set: sample an edit of each caption, keep what parses and changes something.

work/                    removed when the pairs are written
  part-00000.json        what came of a group of captions, in the order of the set; there or not, never half
"""

import json
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path
from typing import Any

from tqdm import tqdm

from compodiff.captions.caption_sets import (
    TALLY,
    PairSplits,
    choose_split,
    digest_caption,
    make_unusable_error,
    read_captions,
    select_captions,
    stamp_files,
)
from compodiff.captions.edit_rows import EditRow, is_change, parse_edit
from compodiff.captions.edit_writers import EditWriter, LazyWriter, choose_engine, count_copies
from compodiff.captions.edits import CaptionEdit
from compodiff.captions.language_model import load_tokenizer
from compodiff.errors import InputInvalid
from compodiff.execution import map_shards
from compodiff.hub import find_model_folder
from compodiff.pairs.caption_file import KIND, open_pair_writer
from compodiff.params import CaptionParams
from compodiff.storage import claims
from compodiff.storage.atomic import write_json
from compodiff.storage.ownership import delete_folder, require_replaceable_file

RELATION = "written"
WORK = "answers of a language model"
BATCHES_PER_PART = 16
OUTCOMES = ("sampled", "malformed", "unchanged", "duplicate", "other_split", "kept")


@dataclass(frozen=True)
class _Part:
    """A group of captions, in the order of the set."""

    number: int
    captions: Sequence[str]
    is_done: bool


@dataclass(frozen=True)
class _PartWriter:
    """Answers the captions of a part, `size` at a time; a worker has one copy for all its parts."""

    writer: EditWriter
    size: int

    def __call__(self, part: _Part) -> list[str]:
        if part.is_done:
            return []
        batches = [part.captions[first : first + self.size] for first in range(0, len(part.captions), self.size)]
        numbered = enumerate(batches, start=part.number * BATCHES_PER_PART)
        return [answer for number, batch in numbered for answer in self.writer.answer(batch, number)]


@dataclass(frozen=True)
class WritingRun:
    """One making of language-model captions.

    Attributes:
        captions: the caption set.
        work: folder for the parts.
        params: section `captions`.
        model: what tells the model and its engine from others (JSON types).
        workers: how many processes answer, each with a copy of the model.
    """

    captions: Path
    work: Path
    params: CaptionParams
    model: Mapping[str, Any]
    workers: int = 1

    def write(self, writer: EditWriter, to: Path, wanted: int, progress: Callable[[int], object]) -> dict[str, Any]:
        """Write up to `wanted` caption pairs, one of a caption at most; parts that are done are not made again.

        Returns:
            pairs; how many rows were sampled, malformed, unchanged, duplicate and kept; what the captions were like.

        Raises:
            InputInvalid: no row parses among the first `give_up_after`, or none was kept.
        """
        captions = stamp_files(self.captions)
        fingerprint = {"captions": captions, "params": self.params.model_dump(), "model": dict(self.model)}
        claims.claim_folder(self.work, fingerprint, WORK, ("part-*.json",))
        outcomes, tally, splits = Counter(dict.fromkeys(OUTCOMES, 0)), Counter(dict.fromkeys(TALLY, 0)), PairSplits()
        with open_pair_writer(to, RELATION) as pairs:
            for caption, answer in self._answer_captions(writer, tally):
                row = parse_edit(caption, answer)
                outcome = self._write_pair(row, splits)
                outcomes.update(("sampled", outcome))
                if row is not None and outcome == "kept":
                    # No term is known: the filters take the relative caption instead.
                    edit = CaptionEdit(RELATION, row.caption, row.result, row.edit, keyword="")
                    pairs.add(edit.make_pair(pairs.make_key(), self._split(row)))
                    progress(1)
                self._stop_if_nothing_parses(outcomes, answer)
                if pairs.written == wanted:
                    break
            if not tally["usable"]:
                raise make_unusable_error(self.captions, tally)
            if not pairs.written:
                raise InputInvalid(f"no row was kept of {dict(outcomes)}, captions {dict(tally)}; fine-tune it longer")
        delete_folder(self.work, WORK)
        return {"pairs": pairs.written, "rows": dict(outcomes), "captions": dict(tally)}

    def _answer_captions(self, writer: EditWriter, tally: Counter[str]) -> Iterator[tuple[str, str]]:
        """Yield every usable caption with what the model wrote, in the order of the set; parts end in any order."""
        it, read = self.params.keywords, Counter(tally)
        size = self.params.language_model.sampling_batch_size
        usable = select_captions(
            read_captions(self.captions), read, min_english=it.min_english, max_characters=it.max_characters
        )
        waiting: deque[tuple[_Part, Counter[str]]] = deque()  # with the tally up to each: parts are read ahead

        def read_parts() -> Iterator[_Part]:
            for number in count():
                if not (captions := list(islice(usable, BATCHES_PER_PART * size))):
                    return
                part = _Part(number, captions, self._locate(number).exists())
                waiting.append((part, read.copy()))
                yield part

        for part, answers in map_shards(_PartWriter(writer, size), read_parts(), workers=self.workers):
            if not part.is_done:
                write_json(self._locate(part.number), answers)
            while waiting and (path := self._locate(waiting[0][0].number)).exists():
                first, counted = waiting.popleft()
                _replace_counts(tally, counted)
                yield from zip(first.captions, json.loads(path.read_text(encoding="utf-8")), strict=True)
        _replace_counts(tally, read)

    def _locate(self, number: int) -> Path:
        return self.work / f"part-{number:05d}.json"

    def _split(self, row: EditRow) -> str:
        return choose_split(digest_caption(row.caption), self.params.validation_fraction)

    def _write_pair(self, row: EditRow | None, splits: PairSplits) -> str:
        if row is None:
            return "malformed"
        if not is_change(row):
            return "unchanged"
        return splits.find_fault(self._split(row), row.caption, row.result, row.edit) or "kept"

    def _stop_if_nothing_parses(self, outcomes: Counter[str], answer: str) -> None:
        limit = self.params.language_model.give_up_after
        if outcomes["sampled"] == outcomes["malformed"] >= limit:
            raise InputInvalid(
                f"none of the first {limit} rows parses; the last is {answer[:120]!r}; the model must be fine-tuned on "
                "such rows first: compodiff captions fine-tune"
            )


def write_pairs(captions: Path, to: Path, params: CaptionParams, *, model: str, wanted: int) -> dict[str, Any]:
    """Let a language model, a folder or hub id, write up to `wanted` caption pairs to `to`; return what was counted.

    Raises:
        InputInvalid: `to` or its work folder is somebody's, or nothing was kept.
        ResourceUnavailable: there is no such model, or no vLLM where it is asked for.
    """
    work = to.with_name(f"{to.name}.work")
    require_replaceable_file(to, KIND)
    claims.require_claimable(work, WORK)
    load_tokenizer(model)  # a wrong model shows before captions are read
    engine = choose_engine(params.language_model)
    weights = sorted(find_model_folder(model).glob("*.safetensors"))
    identity = {
        "name": model,
        "engine": engine,
        "files": [[it.name, it.stat().st_size, it.stat().st_mtime_ns] for it in weights],
    }
    writer = LazyWriter(model, engine, params.language_model, params.seed)
    with tqdm(total=wanted, desc="writing", unit=" pairs", disable=None) as bar:
        return WritingRun(captions, work, params, identity, count_copies()).write(writer, to, wanted, bar.update)


def _replace_counts(tally: Counter[str], by: Counter[str]) -> None:
    tally.clear()
    tally.update(by)
