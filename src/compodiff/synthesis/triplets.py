"""Caption pairs become shards of triplets: generate, embed, filter, write. One shard is one unit of work.

Everything a shard needs is in its plan, and nothing is carried from one shard to the next, so shards can be made in any
order, in any process, again after a kill, and have the same bytes.
"""

import io
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from PIL import Image

from compodiff import shards
from compodiff.atomic import write_json
from compodiff.params import SimilarityFloors
from compodiff.synthesis.filters import Embedded, Vectors, judge, score
from compodiff.synthesis.generation import CaptionPair, PictureGenerator, PicturePair

if TYPE_CHECKING:
    from compodiff.encoders import Encoder

# What decides the bytes of a shard beside its inputs.
SOURCES = (*sorted(Path(__file__).parent.glob("*.py")), Path(shards.__file__))
CANDIDATES_HELD = 128  # pairs of pictures in memory at a time
COLUMNS = ("reference", "target", "reference_caption", "target_caption", "relative_caption", "relation", "split")


@dataclass(frozen=True)
class ShardPlan:
    """A shard that is to be made."""

    path: Path
    pairs: tuple[CaptionPair, ...]


def plan_shards(folder: Path, pairs: Iterable[CaptionPair], pairs_per_shard: int) -> list[ShardPlan]:
    """Cut caption pairs, in their order, into shards of one split each."""
    plans: list[ShardPlan] = []
    by_split: dict[str, list[CaptionPair]] = {}
    for pair in pairs:
        by_split.setdefault(pair.split, []).append(pair)
    for split, own in by_split.items():
        for number, first in enumerate(range(0, len(own), pairs_per_shard)):
            path = folder / f"{split}-{number:05d}.tar"
            plans.append(ShardPlan(path, tuple(own[first : first + pairs_per_shard])))
    return plans


@dataclass(frozen=True)
class TripletMaker:
    """Makes shards; picklable, and loads generator and encoder when a worker makes its first one.

    Attributes:
        make_generator: called once in each worker.
        encoder: folder of the encoder whose similarities filter.
        floors: what the similarities must reach.
        batch_size: pictures, or texts, that the encoder embeds at a time.
    """

    make_generator: Callable[[], PictureGenerator]
    encoder: Path
    floors: SimilarityFloors
    batch_size: int

    def __call__(self, plan: ShardPlan) -> None:
        """Make one shard: all candidates with their scores in its sidecar, the accepted ones in its tar."""
        memo = _Memo(self._encoder, self.batch_size)
        with shards.writing(plan.path) as shard:
            for batch in _batched(self._generator.generate(plan.pairs), CANDIDATES_HELD):
                scores = score(memo.embedded(batch))
                verdicts = judge(scores, self.floors)
                rows = pd.concat([_described(batch, plan.path.name), scores, verdicts], axis="columns")
                shard.record(rows)
                kept = [
                    (pair, row) for pair, row in zip(batch, rows.to_dict("records"), strict=True) if row["accepted"]
                ]
                pngs = {name: _png(picture) for name, picture in _distinct(pair for pair, _ in kept).items()}
                for pair, row in kept:
                    it = pair.captions
                    text = json.dumps(row | {"keyword": it.keyword}, sort_keys=True, ensure_ascii=False).encode()
                    files = {"reference.png": pngs[it.reference], "target.png": pngs[it.target], "json": text}
                    shard.add(it.key, files)

    @cached_property
    def _generator(self) -> PictureGenerator:
        return self.make_generator()

    @cached_property
    def _encoder(self) -> "Encoder":
        from compodiff.encoders import load_encoder

        return load_encoder(self.encoder)


class _Memo:
    """Embeds each distinct picture and text of a shard once."""

    def __init__(self, encoder: "Encoder", batch_size: int) -> None:
        self._encoder = encoder
        self._batch_size = batch_size
        self._pictures: dict[str, Vectors] = {}
        self._texts: dict[str, Vectors] = {}

    def embedded(self, batch: Sequence[PicturePair]) -> Embedded:
        captions = [pair.captions for pair in batch]
        self._embed_pictures(_distinct(batch))
        self._embed_texts([text for it in captions for text in (it.reference_caption, it.target_caption, _asked(it))])
        return Embedded(
            reference=np.stack([self._pictures[it.reference] for it in captions]),
            target=np.stack([self._pictures[it.target] for it in captions]),
            reference_caption=np.stack([self._texts[it.reference_caption] for it in captions]),
            target_caption=np.stack([self._texts[it.target_caption] for it in captions]),
            asked=np.stack([self._texts[_asked(it)] for it in captions]),
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


def finish(folder: Path, plans: Sequence[ShardPlan]) -> None:
    """Write manifest.parquet and report.json over finished shards."""
    paths = [plan.path for plan in plans]
    rows = shards.merge_sidecars(paths, folder / "manifest.parquet")
    write_json(folder / "report.json", acceptance(rows) | {"shards": {p.name: shards.seal_of(p) for p in paths}})


def acceptance(rows: pd.DataFrame) -> dict[str, Any]:
    """Which fraction of the candidates each filter lets through, and all of them together, over all and by relation."""
    rejected_by = rows["rejected_by"].str.split(",")
    fractions = {
        name: float(1 - rejected_by.map(lambda names, name=name: name in names).mean())
        for name in SimilarityFloors.model_fields
    }
    grouped = rows.groupby("relation")["accepted"]
    return {
        "candidates": len(rows),
        "accepted": int(rows["accepted"].sum()),
        "accepted_by_split": {str(split): int(n) for split, n in rows.groupby("split")["accepted"].sum().items()},
        "accepted_by_filter": fractions,
        "accepted_by_relation": {str(relation): float(share) for relation, share in grouped.mean().items()},
        "candidates_by_relation": {str(relation): int(n) for relation, n in grouped.size().items()},
    }


def _asked(pair: CaptionPair) -> str:
    """What the target is to show: the term that came in, or what a language model's relative caption asks for."""
    return pair.keyword or pair.relative_caption


def _described(batch: Sequence[PicturePair], shard: str) -> pd.DataFrame:
    captions = [asdict(pair.captions) for pair in batch]
    return pd.DataFrame(captions).assign(shard=shard)[["key", "shard", *COLUMNS]]


def _distinct(pairs: Iterable[PicturePair]) -> dict[str, Image.Image]:
    pictures: dict[str, Image.Image] = {}
    for pair in pairs:
        pictures |= {pair.captions.reference: pair.reference, pair.captions.target: pair.target}
    return pictures


def _png(picture: Image.Image) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, "PNG")
    return stream.getvalue()


def _batched(pairs: Iterator[PicturePair], size: int) -> Iterator[list[PicturePair]]:
    while batch := list(islice(pairs, size)):
        yield batch
