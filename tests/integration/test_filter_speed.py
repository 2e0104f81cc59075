"""What the filters cost beside the encoder whose similarities they are.

Run: pytest -m slow -s tests/integration/test_filter_speed.py
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from compodiff import shards
from compodiff.encoders import Encoder, embedded_encoder, load_encoder, save_encoder
from compodiff.params import SimilarityFloors
from compodiff.synthesis.generation import CaptionPair, PicturePair
from compodiff.synthesis.triplets import ShardPlan, TripletMaker

PAIRS, ROUNDS, BATCH = 150, 3, 16


def picture(seed: int) -> Image.Image:
    """160 pixels as a catalogue has them: flat colours with edges."""
    blobs = np.random.default_rng(seed).integers(0, 255, (5, 5, 3), dtype=np.uint8)
    return Image.fromarray(blobs).resize((160, 160), Image.Resampling.NEAREST)


@dataclass(frozen=True)
class Held:
    """Pictures that are there already, so that drawing them costs nothing."""

    pictures: tuple[Image.Image, ...]

    def generate(self, pairs: Sequence[CaptionPair]) -> Iterator[PicturePair]:
        for number, pair in enumerate(pairs):
            yield PicturePair(pair, *self.pictures[2 * number : 2 * number + 2])


def pair(number: int) -> CaptionPair:
    texts = (f"a square {number}", f"a disc {number}", f"make it disc {number}")
    return CaptionPair(f"train-{number:08d}", "train", f"r{number}", f"t{number}", *texts, "shape", f"disc of {number}")


def cpu_seconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


@pytest.mark.slow
def test_the_filters_run_at_95_percent_of_the_encoders_own_throughput(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    encoder = embedded_encoder(embedding_dim=512, image_size=160, generator=torch.Generator().manual_seed(17))
    save_encoder(encoder, tmp_path / "encoder")
    pictures, pairs = tuple(picture(seed) for seed in range(2 * PAIRS)), tuple(pair(n) for n in range(PAIRS))
    texts = sorted({text for it in pairs for text in (it.reference_caption, it.target_caption, it.keyword)}, key=len)
    # Nothing passes a floor of 1, so no picture is written; everything passes -1.
    makers = {
        name: TripletMaker(
            partial(Held, pictures),
            tmp_path / "encoder",
            SimilarityFloors.model_validate(dict.fromkeys(SimilarityFloors.model_fields, floor)),
            BATCH,
        )
        for name, floor in (("filters", 1.0), ("filters and writing", -1.0))
    }
    work: dict[str, Callable[[], object]] = {
        "encoder": partial(encode, load_encoder(tmp_path / "encoder"), pictures, texts),
        **{name: partial(maker, ShardPlan(tmp_path / f"{name}.tar", pairs)) for name, maker in makers.items()},
    }
    seconds = {name: min(each) for name, each in rounds(work).items()}
    triplets = len(shards.read_table(tmp_path / "filters.parquet"))
    for name, spent in seconds.items():
        print(f"{name}: {triplets / spent:.1f} triplets a CPU second, {seconds['encoder'] / spent:.1%} of the encoder")  # noqa: T201
    assert seconds["encoder"] / seconds["filters"] >= 0.95


def encode(encoder: Encoder, pictures: Sequence[Image.Image], texts: Sequence[str]) -> None:
    encoder.encode_images(pictures, BATCH)
    for first in range(0, len(texts), BATCH):
        encoder.encode_texts(texts[first : first + BATCH])


def rounds(work: dict[str, Callable[[], object]]) -> dict[str, list[float]]:
    """CPU seconds of each, in turns: what else the machine does meets all alike."""
    for each in work.values():
        each()
    turns = [{name: cpu_seconds(each) for name, each in work.items()} for _ in range(ROUNDS)]
    return {name: [turn[name] for turn in turns] for name in work}
