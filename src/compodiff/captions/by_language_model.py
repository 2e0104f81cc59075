"""Language-model captions from any caption set: sample an edit of each caption, keep what parses and changes something.

work/                    removed when the pairs are written
  part-00000.json        what came of a group of captions, in the order of the set; there or not, never half
"""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

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
from compodiff.captions.edits import CaptionEdit
from compodiff.captions.language_model import LanguageModelWriter, load_language_model
from compodiff.errors import InputInvalid
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


class EditWriter(Protocol):
    """What writes edits; `language_model.LanguageModelWriter` does."""

    def answer(self, captions: Sequence[str], number: int) -> list[str]:
        """Return one answer for each caption of batch `number`."""


@dataclass(frozen=True)
class WritingRun:
    """One making of language-model captions.

    Attributes:
        captions: the caption set.
        work: folder for the parts.
        params: section `captions`.
        model: what tells the model from others (JSON types).
    """

    captions: Path
    work: Path
    params: CaptionParams
    model: Mapping[str, Any]

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
        """Yield every usable caption with what the model wrote, part by part."""
        it = self.params.keywords
        usable = select_captions(
            read_captions(self.captions), tally, min_english=it.min_english, max_characters=it.max_characters
        )
        size, number = self.params.language_model.sampling_batch_size, 0
        while part := list(islice(usable, BATCHES_PER_PART * size)):
            path = self.work / f"part-{number:05d}.json"
            if not path.exists():
                batches = [part[first : first + size] for first in range(0, len(part), size)]
                numbered = enumerate(batches, start=number * BATCHES_PER_PART)
                write_json(path, [answer for count, batch in numbered for answer in writer.answer(batch, count)])
            yield from zip(part, json.loads(path.read_text(encoding="utf-8")), strict=True)
            number += 1

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
        ResourceUnavailable: there is no such model.
    """
    work = to.with_name(f"{to.name}.work")
    require_replaceable_file(to, KIND)
    claims.require_claimable(work, WORK)
    network, tokenizer = load_language_model(model, to_train=False)
    weights = sorted(find_model_folder(model).glob("*.safetensors"))
    identity = {"name": model, "files": [[it.name, it.stat().st_size, it.stat().st_mtime_ns] for it in weights]}
    writer = LanguageModelWriter(network, tokenizer, params.language_model, seed=params.seed)
    with tqdm(total=wanted, desc="writing", unit=" pairs", disable=None) as bar:
        return WritingRun(captions, work, params, identity).write(writer, to, wanted, bar.update)
