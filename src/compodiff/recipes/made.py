"""Caption pairs become shards of triplets whose pictures a generator makes. One shard is one unit of work.

Everything a shard needs is in its plan, and nothing is carried from one shard to the next, so shards can be made in any
order, in any process, again after a kill, and have the same bytes.
"""

import io
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from compodiff.execution import count_workers, map_shards
from compodiff.pairs.pair import CaptionPair, PictureGenerator, PicturePair
from compodiff.sets import TRIPLETS, ShardWriter, is_shard_done, open_shard
from compodiff.sets.writing import shard_path


@dataclass(frozen=True)
class ShardPlan:
    """A shard that is to be made of caption pairs of one split."""

    folder: Path
    split: str
    number: int
    pairs: tuple[CaptionPair, ...]

    @property
    def path(self) -> Path:
        """Return where its rows will stand."""
        return shard_path(self.folder, self.split, self.number)


def plan_shards(folder: Path, pairs: Iterable[CaptionPair], rows_per_shard: int) -> Iterator[ShardPlan]:
    """Cut caption pairs, in their order, into shards of one split each.

    Yields a plan as soon as it is full, so that no more pairs are held than fit one shard of each split.
    """
    numbers: Counter[str] = Counter()
    held: dict[str, list[CaptionPair]] = {}

    def plan(split: str) -> ShardPlan:
        numbers[split] += 1
        return ShardPlan(folder, split, numbers[split] - 1, tuple(held.pop(split)))

    for pair in pairs:
        held.setdefault(pair.split, []).append(pair)
        if len(held[pair.split]) == rows_per_shard:
            yield plan(pair.split)
    for split in list(held):
        yield plan(split)


@dataclass(frozen=True)
class ShardMaker:
    """Makes shards; picklable, and loads its generator when a worker makes its first one."""

    make_generator: Callable[[], PictureGenerator]

    def __call__(self, plan: ShardPlan) -> int:
        """Make one shard and return how many candidates were left out, as unsafe."""
        left_out = 0
        with open_shard(plan.folder, plan.split, plan.number, TRIPLETS) as shard:
            for made in self._generator.generate(plan.pairs):
                if made.rejected_by:
                    left_out += 1
                else:
                    add_made(shard, made)
        return left_out

    @cached_property
    def _generator(self) -> PictureGenerator:
        return self.make_generator()


def make_shards(
    folder: Path, pairs: Iterable[CaptionPair], count: int, rows_per_shard: int, maker: ShardMaker
) -> dict[str, int]:
    """Make the shards that are missing in `folder`; return counts of what was left out.

    Args:
        folder: of the set.
        pairs: walked over once.
        count: how many pairs there are, for the progress bar.
        rows_per_shard: caption pairs that become one shard.
        maker: makes one.

    Raises:
        ResourceUnavailable: the disk is full or a worker was killed; finished shards are kept.
    """
    unsafe = 0
    with tqdm(desc="making triplets", total=count, unit=" pairs", disable=None) as bar:
        plans = _skip_done(plan_shards(folder, pairs, rows_per_shard), bar)
        for plan, left_out in map_shards(maker, plans, workers=count_workers()):
            unsafe += left_out
            bar.update(len(plan.pairs))
    return {"unsafe": unsafe} if unsafe else {}


def add_made(shard: ShardWriter, made: PicturePair) -> None:
    """Append a row whose pictures were made, with the pictures."""
    it = made.captions
    mask = None if made.mask is None else np.packbits(made.mask.reshape(-1)).tobytes()
    shard.add(
        {
            "key": it.key,
            "reference": shard.store_picture(it.reference, encode_png(made.reference)),
            "target": shard.store_picture(it.target, encode_png(made.target)),
            **describe_pair(it),
            "mask": mask,
            "negatives": [],
        }
    )


def describe_pair(pair: CaptionPair) -> dict[str, Any]:
    """Return the columns of a row that are texts."""
    return {
        "reference_caption": pair.reference_caption,
        "target_caption": pair.target_caption,
        "relative_captions": [pair.relative_caption],
        "relation": pair.relation,
        "keyword": pair.keyword,
    }


def encode_png(picture: Image.Image) -> bytes:
    """Return a picture as PNG: as small as zlib's default makes it, or a tenth larger, in a third of the time."""
    stream = io.BytesIO()
    picture.save(stream, "PNG", compress_level=1, compress_type=zlib.Z_RLE)
    return stream.getvalue()


def _skip_done(plans: Iterable[ShardPlan], bar: "tqdm[Any]") -> Iterator[ShardPlan]:
    for plan in plans:
        if not is_shard_done(plan.path):
            yield plan
            continue
        if not bar.disable:
            bar.initial += len(plan.pairs)  # not part of this run's rate
        bar.update(len(plan.pairs))
