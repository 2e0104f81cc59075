"""What the filters cost beside the encoder whose similarities they are.

Run: pytest -m slow -s tests/integration/test_filter_speed.py
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import count, cycle, islice
from pathlib import Path
from typing import Any

import pytest
from compodiff.triplets.making import ShardPlan, TripletMaker
from factories import draw_patches, make_embedded_encoder
from PIL import Image

from compodiff.catalogue.pictures import Catalogue, paint_on_white
from compodiff.encoders import Encoder, save_encoder
from compodiff.pairs.pair import CaptionPair, PicturePair
from compodiff.params import SimilarityFloors
from compodiff.storage import tables

PAIRS = 200


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


class Clock:
    """CPU seconds spent in some functions: measured within the run, other load of the machine meets both alike."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def around(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*arguments: Any) -> Any:
            start = time.process_time()
            result = function(*arguments)
            self.seconds += time.process_time() - start
            return result

        return timed


@pytest.mark.slow
@pytest.mark.parametrize(("kept", "least"), [("none", 0.95), ("emoji", 0.95), ("smooth", 0.8)])
def test_filters_run_at_95_percent_of_the_encoders_own_throughput(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small_catalogue: Catalogue, kept: str, least: float
) -> None:
    """What is kept is written as PNG, too, which for smooth pictures costs more than all five filters."""
    encoder = make_embedded_encoder(seed=17, embedding_dim=512, image_size=160)
    save_encoder(encoder, tmp_path / "encoder")
    floors = SimilarityFloors(**dict.fromkeys(SimilarityFloors.model_fields, 1.0 if kept == "none" else -1.0))
    emoji = (paint_on_white(small_catalogue.read(name)) for name in cycle(small_catalogue.list_distinct()))
    smooth = (draw_patches(seed, 160, 160, across=5) for seed in count())
    pictures = tuple(islice(emoji if kept == "emoji" else smooth, 2 * PAIRS))
    maker = TripletMaker(partial(Held, pictures), tmp_path / "encoder", floors, 16)
    maker(ShardPlan(tmp_path / "warm.tar", (pair(0),)))
    clock, whole = Clock(), Clock()
    for name in ("encode_images", "encode_texts"):
        monkeypatch.setattr(Encoder, name, clock.around(getattr(Encoder, name)))
    whole.around(maker)(ShardPlan(tmp_path / "all.tar", tuple(pair(number) for number in range(PAIRS))))
    assert len(tables.read_table(tmp_path / "all.parquet")) == PAIRS
    share = clock.seconds / whole.seconds
    print(f"kept {kept}: {PAIRS / whole.seconds:.1f} triplets a CPU second, {share:.1%} of the encoder")  # noqa: T201
    assert share >= least
