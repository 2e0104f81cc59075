"""Caption pairs become shards of triplets: generate, embed, filter, write. One shard is one unit of work.

Everything a shard needs is in its plan, and nothing is carried from one shard to the next, so shards can be made in any
order, in any process, again after a kill, and have the same bytes.
"""

import io
import json
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from PIL import Image

from compodiff.pairs.pair import CaptionPair, PictureGenerator, PicturePair
from compodiff.pairs.similarity import EmbeddedPairs, Vectors, judge, score
from compodiff.params import SimilarityFloors
from compodiff.storage import shards

if TYPE_CHECKING:
    from compodiff.encoders import Encoder

CANDIDATES_HELD = 128  # pairs of pictures in memory at a time
COLUMNS = ("reference", "target", "reference_caption", "target_caption", "relative_caption", "relation", "split")


@dataclass(frozen=True)
class ShardPlan:
    """A shard that is to be made, of the caption pairs of one source: the number of that source."""

    path: Path
    pairs: tuple[CaptionPair, ...]
    source: int = 0


def plan_shards(folder: Path, pairs: Iterable[CaptionPair], pairs_per_shard: int) -> list[ShardPlan]:
    """Cut caption pairs of one source, in their order, into shards of one split each; ordered by name."""
    return sorted(plan_sources(folder, [pairs], pairs_per_shard), key=lambda plan: plan.path)


def plan_sources(folder: Path, sources: Iterable[Iterable[CaptionPair]], pairs_per_shard: int) -> Iterator[ShardPlan]:
    """Cut the caption pairs of each source, in their order, into shards of one split each, numbered through.

    Yields a plan as soon as it is full, so that no more pairs are held than fit one shard of each split.
    """
    numbers: Counter[str] = Counter()

    def plan_shard(split: str, own: list[CaptionPair], source: int) -> ShardPlan:
        numbers[split] += 1
        return ShardPlan(folder / f"{split}-{numbers[split] - 1:05d}.tar", tuple(own), source)

    for source, pairs in enumerate(sources):
        held: dict[str, list[CaptionPair]] = {}
        for pair in pairs:
            own = held.setdefault(pair.split, [])
            own.append(pair)
            if len(own) == pairs_per_shard:
                yield plan_shard(pair.split, own, source)
                own.clear()
        for split, own in held.items():
            if own:
                yield plan_shard(split, own, source)


@dataclass(frozen=True)
class TripletMaker:
    """Makes shards; picklable, and loads generator and encoder when a worker makes its first one.

    Attributes:
        make_generator: called once in each worker that makes a shard of the first source.
        encoder: folder of the encoder whose similarities filter.
        floors: what the similarities must reach.
        batch_size: pictures, or texts, that the encoder embeds at a time.
        make_others: the same as `make_generator`, of the sources after the first.
    """

    make_generator: Callable[[], PictureGenerator]
    encoder: Path
    floors: SimilarityFloors
    batch_size: int
    make_others: tuple[Callable[[], PictureGenerator], ...] = ()

    def __call__(self, plan: ShardPlan) -> None:
        """Make one shard: all candidates with their scores in its sidecar, the accepted ones in its tar."""
        memo = _EmbeddingMemo(self._encoder, self.batch_size)
        with shards.open_shard_writer(plan.path) as shard:
            for batch in _split_batches(self._find_generator(plan.source).generate(plan.pairs), CANDIDATES_HELD):
                scores = score(memo.embed(batch))
                verdicts = judge(scores, self.floors, [pair.rejected_by for pair in batch])
                rows = pd.concat([_describe(batch, plan.path.name), scores, verdicts], axis="columns")
                shard.record(rows)
                kept = [
                    (pair, row) for pair, row in zip(batch, rows.to_dict("records"), strict=True) if row["accepted"]
                ]
                pngs = {
                    name: _save_png(picture) for name, picture in _select_distinct(pair for pair, _ in kept).items()
                }
                for pair, row in kept:
                    it = pair.captions
                    text = json.dumps(row | {"keyword": it.keyword}, sort_keys=True, ensure_ascii=False).encode()
                    files = {"reference.png": pngs[it.reference], "target.png": pngs[it.target], "json": text}
                    if pair.mask is not None:
                        files["mask.png"] = _save_png(Image.fromarray(pair.mask))
                    shard.add(it.key, files)

    def _find_generator(self, source: int) -> PictureGenerator:
        if source not in self._generators:
            self._generators[source] = (self.make_generator, *self.make_others)[source]()
        return self._generators[source]

    @cached_property
    def _generators(self) -> dict[int, PictureGenerator]:
        return {}

    @cached_property
    def _encoder(self) -> "Encoder":
        from compodiff.encoders import MEMO, load_encoder

        return load_encoder(self.encoder).prepare_for_many().remember_in(self.encoder.with_name(MEMO))


class _EmbeddingMemo:
    """Embeds each distinct picture and text of a shard once."""

    def __init__(self, encoder: "Encoder", batch_size: int) -> None:
        self._encoder = encoder
        self._batch_size = batch_size
        self._pictures: dict[str, Vectors] = {}
        self._texts: dict[str, Vectors] = {}

    def embed(self, batch: Sequence[PicturePair]) -> EmbeddedPairs:
        captions = [pair.captions for pair in batch]
        self._embed_pictures(_select_distinct(batch))
        self._embed_texts(
            [text for it in captions for text in (it.reference_caption, it.target_caption, _choose_asked(it))]
        )
        return EmbeddedPairs(
            reference=np.stack([self._pictures[it.reference] for it in captions]),
            target=np.stack([self._pictures[it.target] for it in captions]),
            reference_caption=np.stack([self._texts[it.reference_caption] for it in captions]),
            target_caption=np.stack([self._texts[it.target_caption] for it in captions]),
            asked=np.stack([self._texts[_choose_asked(it)] for it in captions]),
        )

    def _embed_pictures(self, pictures: dict[str, Image.Image]) -> None:
        new = {name: picture for name, picture in pictures.items() if name not in self._pictures}
        embeddings = self._encoder.encode_images(new.values(), self._batch_size).cpu().numpy()
        self._pictures.update(zip(new, embeddings, strict=True))

    def _embed_texts(self, texts: Iterable[str]) -> None:
        new = sorted(
            set(texts) - self._texts.keys(), key=lambda text: (len(text), text)
        )  # alike in length: less padding
        for first in range(0, len(new), self._batch_size):
            batch = new[first : first + self._batch_size]
            self._texts.update(zip(batch, self._encoder.encode_texts(batch).pooled.cpu().numpy(), strict=True))


def _choose_asked(pair: CaptionPair) -> str:
    """What the target is to show: the term that came in, or what a language model's relative caption asks for."""
    return pair.keyword or pair.relative_caption


def _describe(batch: Sequence[PicturePair], shard: str) -> pd.DataFrame:
    captions = [asdict(pair.captions) for pair in batch]
    return pd.DataFrame(captions).assign(shard=shard)[["key", "shard", *COLUMNS]]


def _select_distinct(pairs: Iterable[PicturePair]) -> dict[str, Image.Image]:
    pictures: dict[str, Image.Image] = {}
    for pair in pairs:
        pictures |= {pair.captions.reference: pair.reference, pair.captions.target: pair.target}
    return pictures


def _save_png(picture: Image.Image) -> bytes:
    stream = io.BytesIO()
    # As small as zlib's default makes it, or a tenth larger, in a third of the time.
    picture.save(stream, "PNG", compress_level=1, compress_type=zlib.Z_RLE)
    return stream.getvalue()


def _split_batches(pairs: Iterator[PicturePair], size: int) -> Iterator[list[PicturePair]]:
    while batch := list(islice(pairs, size)):
        yield batch
