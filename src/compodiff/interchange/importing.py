"""Triplets of another set become shards of ours: judged by our filters, unless the set is an export of ours.

A unit of work is a tar, a row group of a parquet file, or a thousand triplets of LaSCo, and becomes one shard, so that
an import runs wherever `execution` maps, and continues after a kill.
"""

import json
import logging
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from random import Random
from typing import Any, Protocol, TypeVar

import numpy as np
import pandas as pd
from PIL import Image

from compodiff.catalogue.pictures import paint_on_white
from compodiff.encoders import EncoderManifest
from compodiff.errors import InputInvalid
from compodiff.images import decode
from compodiff.images.mask_cells import Cells, find_box_cells, find_mask_cells
from compodiff.interchange.records import SCORES, Record
from compodiff.interchange.wording import find_change, put_in_words, say_the_same, strip_article
from compodiff.language.terms import Tagger
from compodiff.pairs.pair import CaptionPair, PicturePair
from compodiff.params import SimilarityFloors
from compodiff.storage import shards
from compodiff.triplets.making import ShardPlan, TripletMaker

SPLITS = ("train", "validation")
TEXTS = ("reference_caption", "target_caption", "relative_caption", "relation", "split")
WRITTEN = "written"  # the relation where a person or a model wrote the relative caption and no more is said
_LONGEST_KEY = 80  # characters of a set's own key
Made = TypeVar("Made")
log = logging.getLogger(__name__)


class ImportPart(Protocol):
    """A unit of work; picklable."""

    @property
    def path(self) -> Path:
        """What is read, for messages."""

    def read_records(self) -> Iterator[Record]:
        """Read it, one triplet in memory at a time."""


@dataclass(frozen=True)
class ImportPlan:
    """A part, and the shard that it becomes."""

    path: Path
    number: int
    part: ImportPart


@dataclass
class Importer:
    """Makes shards out of parts; picklable.

    Attributes:
        encoder: folder of the encoder whose similarities filter.
        floors: what they must reach.
        batch_size: pictures embedded at a time.
        split: of triplets that name none.
        seed: of the wording of relative captions that a set does not have.
        skip_faulty: leave out triplets with a fault (a picture that does not decode, an empty caption, captions that
            say the same, a keyword that the target's caption lacks), and say so, instead of stopping.
    """

    encoder: Path
    floors: SimilarityFloors
    batch_size: int
    split: str
    seed: int
    skip_faulty: bool = False
    _faults: int = field(default=0, init=False, compare=False)

    def __call__(self, planned: ImportPlan) -> int:
        """Make one shard; return how many faults were left out: triplets, and one for a part that breaks off.

        Raises:
            InputInvalid: the part cannot be read, or a picture does not decode, and such are not left out.
        """
        self._faults = 0
        records = self._read_part(planned.part)
        first = next(records, None)
        if first is None and not self.skip_faulty:
            raise InputInvalid(f"{planned.part.path} holds no triplet; leave it out")
        if first is None:
            with shards.open_shard_writer(
                planned.path
            ):  # an empty one, so that the import knows that this part is done
                return self._faults or 1
        if first.is_complete:
            self._copy(planned, first, records)
        else:
            self._generator.read = self._make_pairs(planned, first, records)
            self._maker(ShardPlan(planned.path, ()))
        return self._faults

    def _read_part(self, part: ImportPart) -> Iterator[Record]:
        """Read a part as far as it can be read.

        Raises:
            InputInvalid: it is damaged, and such are not left out.
        """
        try:
            yield from part.read_records()
        except InputInvalid as error:
            if not self.skip_faulty:
                raise
            self._leave_out(str(error))

    def _leave_out(self, fault: str) -> None:
        log.warning("%s; left out", fault)
        self._faults += 1

    @cached_property
    def _generator(self) -> "_ReadyGenerator":
        return _ReadyGenerator()

    @cached_property
    def _maker(self) -> TripletMaker:
        return TripletMaker(lambda: self._generator, self.encoder, self.floors, self.batch_size)

    def _make_pairs(self, planned: ImportPlan, first: Record, others: Iterator[Record]) -> Iterator[PicturePair]:
        random = Random(f"{self.seed}-{planned.number}")
        for number, record in enumerate(_chain(first, others)):
            pair = self._make_if_sound(record, partial(self._make_pair, planned, number, random))
            if pair is not None:
                yield pair

    def _make_if_sound(self, record: Record, made: Callable[[Record], Made]) -> Made | None:
        """What is made of a record, None if it has a fault and such are left out.

        Raises:
            InputInvalid: it has a fault, and such are not left out.
        """
        fault = record.fault
        if not fault:
            try:
                return made(record)
            except InputInvalid as error:
                fault = str(error)
        if not self.skip_faulty:
            raise InputInvalid(f"{record.name}: {fault}; leave such out: --skip-faulty")
        self._leave_out(f"{record.name}: {fault}")
        return None

    def _make_pair(self, planned: ImportPlan, number: int, random: Random, record: Record) -> PicturePair:
        if fault := _find_fault(record):
            raise InputInvalid(fault)
        own = re.sub(r"[^\w-]+", "_", record.key)[:_LONGEST_KEY]  # so that a triplet can be traced
        key = f"{planned.path.stem}-{number:06d}" + (f"-{own}" if own else "")
        reference, target = _decode(record.reference), _decode(record.target)
        return PicturePair(
            self._make_captions(record, key, random), reference, target, self._make_mask(record, reference.size)
        )

    def _make_mask(self, record: Record, size: tuple[int, int]) -> Cells | None:
        """The region that the set says is edited, as cells of what the encoder sees; None where it says nothing."""
        if record.box is not None:
            return find_box_cells(record.box, size, self._resize_mode)
        if record.mask is None:
            return None
        mask = decode(record.mask).convert("L")
        white = np.asarray(mask.resize(size, Image.Resampling.NEAREST)) > 127
        cells = find_mask_cells(white, self._resize_mode)
        return cells if cells.any() else None

    @cached_property
    def _resize_mode(self) -> str:
        content = json.loads((self.encoder / "manifest.json").read_text(encoding="utf-8"))
        return EncoderManifest.from_json(content).resize_mode

    @cached_property
    def _tagger(self) -> Tagger:
        return Tagger()

    def _make_captions(self, record: Record, key: str, random: Random) -> CaptionPair:
        """What the triplet says; a change that the set does not name is found in the captions."""
        texts = record.texts
        change = find_change(*self._tagger.tag([texts["reference_caption"], texts["target_caption"]]))
        own_words = texts.get("relative_caption")
        # The keyword-image filter looks for the term that came; where a person or a model wrote the relative caption,
        # for that, as the paper does.
        keyword = texts.get("keyword") or own_words or strip_article(change.target) or texts["target_caption"]
        return CaptionPair(
            key=key,
            split=texts["split"] if texts.get("split") in SPLITS else self.split,
            reference=f"{key}-reference",
            target=f"{key}-target",
            reference_caption=texts["reference_caption"],
            target_caption=texts["target_caption"],
            relative_caption=own_words or put_in_words(change, random),
            relation=texts.get("relation") or (WRITTEN if own_words else change.relation),
            keyword=keyword,
        )

    def _copy(self, planned: ImportPlan, first: Record, others: Iterator[Record]) -> None:
        """Take over an export of ours as it is."""
        with shards.open_shard_writer(planned.path) as shard:
            rows = []
            for record in _chain(first, others):
                if not record.is_complete:
                    raise InputInvalid(f"{record.name} lacks columns that the others have; export the set again")
                whole = self._make_if_sound(
                    record, lambda each: (_check_files(each), restore_row(each, planned.path.name))
                )
                if whole is None:
                    continue
                files, row = whole
                text = json.dumps(row | _find_keyword(record), sort_keys=True, ensure_ascii=False).encode()
                shard.add(record.key, {**files, "json": text})
                rows.append(row)
            if rows:
                shard.record(pd.DataFrame(rows).astype({**dict.fromkeys(SCORES, "float32"), "accepted": bool}))


@dataclass
class _ReadyGenerator:
    """A generator whose pictures are already there."""

    read: Iterator[PicturePair] = field(default_factory=lambda: iter(()))

    def generate(self, _pairs: Sequence[CaptionPair]) -> Iterator[PicturePair]:
        yield from self.read


def _check_files(record: Record) -> dict[str, bytes]:
    """The picture files of a record, each of which decodes."""
    files = {"reference.png": record.reference, "target.png": record.target}
    if record.mask is not None:
        files["mask.png"] = record.mask
    for content in files.values():
        _decode(content)
    return files


def _find_fault(record: Record) -> str:
    """What its texts say wrong, "" for nothing."""
    before, after = (record.texts[role] for role in ("reference_caption", "target_caption"))
    keyword = record.texts.get("keyword", "")
    if say_the_same(before, after):
        return f"both captions say {after!r}"
    if keyword.casefold() not in after.casefold():
        return f"the keyword {keyword!r} is missing in the target caption {after!r}"
    return ""


def restore_row(record: Record, shard: str) -> dict[str, Any]:
    """The row of our manifest that an export of ours came from, in the manifest's order.

    Raises:
        InputInvalid: a score is no number.
    """
    own: Mapping[str, Any] = record.own
    texts = {name: record.texts[name] for name in TEXTS}
    names = {"key": record.key, "shard": shard, "reference": str(own["reference"]), "target": str(own["target"])}
    try:
        scores = {name: float(own[name]) for name in SCORES}
    except (TypeError, ValueError, OverflowError) as error:
        raise InputInvalid(f"has a score that is no number ({error})") from error
    return names | texts | scores | {"accepted": bool(own["accepted"]), "rejected_by": str(own["rejected_by"])}


def _find_keyword(record: Record) -> dict[str, str]:
    return {"keyword": record.texts["keyword"]} if "keyword" in record.texts else {}


def _chain(first: Record, others: Iterator[Record]) -> Iterator[Record]:
    yield first
    yield from others


def _decode(content: bytes) -> Image.Image:
    """A picture of a set.

    Raises:
        InputInvalid: it does not decode.
    """
    try:
        return paint_on_white(decode(content))
    except InputInvalid as error:
        raise InputInvalid(f"a picture cannot be read ({error})") from error
