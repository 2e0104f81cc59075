"""Sets whose pictures are made: cut into shards, made in any order and process, and again after a kill."""

import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from compodiff.pairs.pair import CaptionPair, PicturePair
from compodiff.recipes.made import ShardMaker, make_shards, plan_shards
from compodiff.sets import TRIPLETS, Place, TrainingSet, finish_set, open_set

pytestmark = pytest.mark.usefixtures("one_process")


def pair(number: int, split: str = "train") -> CaptionPair:
    texts = ("a square", "a disc", "make it a disc")
    return CaptionPair(f"{split}-{number:08d}", split, "square", "disc", *texts, relation="shape", keyword="disc")


@dataclass
class Painter:
    """Draws two candidates of each pair in a colour that follows from the key, as a diffusion model would.

    Those whose key ends in one of `unsafe` must not be kept. It breaks off where `limit` candidates are drawn.
    """

    unsafe: tuple[str, ...] = ()
    limit: int = 1000
    drawn: list[str] = field(default_factory=list)

    def generate(self, pairs: Sequence[CaptionPair]) -> Iterator[PicturePair]:
        for captions in pairs:
            for candidate in range(2):
                key = f"{captions.key}-{candidate}"
                named = replace(captions, key=key, reference=f"{key}-reference", target=f"{key}-target")
                if len(self.drawn) == self.limit:
                    raise KeyboardInterrupt
                self.drawn.append(key)
                made = PicturePair(named, self.paint(key), Image.new("RGB", (40, 40), "white"), self.mask(key))
                yield replace(made, rejected_by="unsafe" if key.endswith(self.unsafe or ("never",)) else "")

    @staticmethod
    def paint(key: str) -> Image.Image:
        colour = np.random.default_rng(list(key.encode())).integers(0, 255, 3)
        return Image.new("RGB", (40, 40), tuple(colour.tolist()))

    @staticmethod
    def mask(key: str) -> "np.ndarray | None":
        """Only the first candidates have one."""
        return np.tri(64, dtype=np.bool_) if key.endswith("-0") else None


PAIRS = [pair(number) for number in range(5)] + [pair(number, "validation") for number in range(2)]


def make(folder: Path, painter: Painter) -> TrainingSet:
    folder.mkdir(exist_ok=True)
    notes = make_shards(folder, PAIRS, len(PAIRS), 2, ShardMaker(lambda: painter))
    finish_set(folder, TRIPLETS, licence="none", source="this test", notes=notes)
    return open_set(folder)


def read_picture(made: TrainingSet, place: dict[str, object]) -> Image.Image:
    return Image.open(BytesIO(made.places.read(Place.of(place))))


def test_shards_have_one_split_and_keep_the_order(tmp_path: Path) -> None:
    plans = list(plan_shards(tmp_path, PAIRS, 2))
    names = [f"train-{number:05d}.parquet" for number in range(3)] + ["validation-00000.parquet"]
    assert sorted(plan.path.name for plan in plans) == names
    assert [it for plan in sorted(plans, key=lambda plan: plan.path) for it in plan.pairs] == PAIRS


def test_a_plan_is_there_as_soon_as_it_is_full(tmp_path: Path) -> None:
    read = []

    def pairs() -> Iterator[CaptionPair]:
        for number in range(10):
            read.append(number)
            yield pair(number)

    plans = plan_shards(tmp_path, pairs(), 3)
    assert [len(next(plans).pairs) for _ in range(2)] == [3, 3]
    assert len(read) == 6
    assert [len(plan.pairs) for plan in plans] == [3, 1]


def test_every_candidate_becomes_a_row_with_its_pictures_and_its_mask(tmp_path: Path) -> None:
    made = make(tmp_path / "set", painter := Painter())
    rows = list(made.iterate_rows())
    assert sorted(row["key"] for row in rows) == sorted(painter.drawn)
    assert made.description.rows == {"train": 10, "validation": 4}
    for row in rows:
        assert row["split"] == row["key"].partition("-")[0]
        shown = read_picture(made, row["reference"])
        assert shown.tobytes() == Painter.paint(row["key"]).tobytes()
        assert (row["reference_caption"], row["target_caption"]) == ("a square", "a disc")
        assert (row["relative_captions"], row["keyword"], row["relation"]) == (["make it a disc"], "disc", "shape")
        expected = Painter.mask(row["key"])
        assert row["mask"] == (None if expected is None else np.packbits(expected.reshape(-1)).tobytes())


def test_unsafe_candidates_are_left_out_with_their_pictures_and_counted(tmp_path: Path) -> None:
    made = make(tmp_path / "set", Painter(unsafe=("1-1", "3-0")))
    keys = {row["key"] for row in made.iterate_rows()}
    lost = {"train-00000001-1", "train-00000003-0", "validation-00000001-1"}
    assert keys == {f"{it.key}-{candidate}" for it in PAIRS for candidate in range(2)} - lost
    assert made.description.notes == {"unsafe": 3}
    with tarfile.open(tmp_path / "set" / "validation-00000.tar") as tar:
        assert len(tar.getnames()) == 2 * 3
    assert make(tmp_path / "whole", Painter()).description.notes == {}


def test_a_run_that_was_killed_makes_only_what_is_missing_and_the_same_bytes(tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    make(whole, Painter())
    with pytest.raises(KeyboardInterrupt):
        make(killed, Painter(limit=6))  # in the second shard
    assert [path.name for path in sorted(killed.glob("*.parquet"))] == ["train-00000.parquet"]
    make(killed, rest := Painter())
    assert not {key for key in rest.drawn if key.startswith(("train-00000000", "train-00000001"))}
    for path in sorted(whole.iterdir()):
        assert path.read_bytes() == (killed / path.name).read_bytes(), path.name
    assert {path.name for path in killed.iterdir() if not path.name.startswith(".")} == {
        path.name for path in whole.iterdir()
    }
