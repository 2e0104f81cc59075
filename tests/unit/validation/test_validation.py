"""What becomes of the rows of a set: real sets, real pictures, embedded by a tiny CLIP; only faults are put in."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from factories import draw_noise, encode_picture, make_embedding_params, make_floors, make_validation_params

from compodiff.embeddings import SetEmbeddings, embed_set
from compodiff.errors import DataRejected, InputInvalid
from compodiff.images import decode
from compodiff.images.decoding import digest_pixels
from compodiff.params import OwnSetParams, SimilarityFloors, ValidationParams
from compodiff.sets import PAIRS, TRIPLETS, finish_set, open_set, open_shard
from compodiff.stages.validate import validate
from compodiff.storage.atomic import write_json
from compodiff.validation import HeldOut, Judged, Verdict, shorten_digests, validate_rows

pytestmark = pytest.mark.usefixtures("one_process")
TOLERANT = make_validation_params(max_text_length=60)  # a tenth of the rows may be quarantined
TRAIN, HELD = 24, 6  # rows of the training split, in two shards, and of the validation split

Row = dict[str, Any]
Change = Callable[[list[Row]], None]  # of rows of which the pictures are bytes


def picture(number: int) -> bytes:
    return encode_picture(draw_noise(number, 16, 16))


def list_triplets() -> list[Row]:
    """Rows without a fault: no two show the same picture."""
    return [
        {
            "key": f"row-{number:03d}",
            "split": "train" if number < TRAIN else "validation",
            "shard": number // (TRAIN // 2),
            "reference": picture(2 * number),
            "target": picture(2 * number + 1),
            "reference_caption": f"a red disc {number}",
            "target_caption": f"a blue disc {number}",
            "relative_captions": ["make it blue", "blue, please"],
            "relation": "colour",
            "keyword": "blue",
            "mask": None,
            "negatives": [],
        }
        for number in range(TRAIN + HELD)
    ]


def list_pairs() -> list[Row]:
    return [
        {name: row[name] for name in ("key", "split", "shard")}
        | {"picture": row["reference"], "texts": [row["reference_caption"], "a disc"]}
        for row in list_triplets()
    ]


def write_set(folder: Path, kind: str, rows: Sequence[Row]) -> Path:
    for number in sorted({row["shard"] for row in rows}):
        own = [row for row in rows if row["shard"] == number]
        with open_shard(folder, own[0]["split"], number, kind) as shard:
            for place, row in enumerate(own):
                columns = {name: value for name, value in row.items() if name not in ("split", "shard")}
                for name in ("reference", "target", "picture"):
                    if name in columns:
                        columns[name] = shard.store_picture(f"{name}-{number}-{place}", columns[name])
                shard.add(columns)
    finish_set(folder, kind, licence="", source="this test")
    return folder


@dataclass(frozen=True)
class Made:
    """A set that is written and embedded."""

    folder: Path
    embeddings: Path

    def change_array(self, name: str, change: Callable[[np.ndarray], None]) -> None:
        array = np.load(self.embeddings / f"{name}.npy")
        change(array)
        np.save(self.embeddings / f"{name}.npy", array)


@pytest.fixture
def make(tmp_path: Path, encoder_folder: Path) -> Callable[..., Made]:
    """Return what writes and embeds a set, after a change of its rows."""

    def make(kind: str = TRIPLETS, change: Change | None = None) -> Made:
        rows = list_triplets() if kind == TRIPLETS else list_pairs()
        if change:
            change(rows)
        number = len(list(tmp_path.glob("set*")))
        (tmp_path / f"set{number}").mkdir()
        folder = write_set(tmp_path / f"set{number}", kind, rows)
        made = Made(folder, tmp_path / "embeddings" / str(number))
        made.embeddings.parent.mkdir(exist_ok=True)
        embed_set(made.embeddings, folder, encoder_folder, make_embedding_params(masks_per_picture=0))
        return made

    return make


NOTHING = HeldOut(np.empty(0, np.uint64), np.empty(0, np.uint64))


def params_of(floors: SimilarityFloors | None = None, min_rows: int = 10) -> OwnSetParams:
    return OwnSetParams(recipe="own", reads="set.json", min_rows=min_rows, floors=floors)


def hold(
    made: Made, docs: Path, params: OwnSetParams | None = None, held_out: HeldOut = NOTHING,
    validation: ValidationParams = TOLERANT,
) -> tuple[Verdict, pd.DataFrame, dict[str, str]]:  # fmt: skip
    """Return the verdict, what was said of each row, and key -> failed expectations of those in quarantine."""
    judged = Judged(open_set(made.folder), SetEmbeddings.load(made.embeddings), held_out)
    *groups, verdict = validate_rows(judged, params or params_of(), validation, docs)
    assert isinstance(verdict, Verdict)
    quarantine = pd.concat([group[1] for group in groups])
    return verdict, pd.concat([group[0] for group in groups]), dict(quarantine[["key", "failed"]].to_numpy())


def digest(*contents: bytes) -> np.ndarray:
    return shorten_digests(np.frombuffer(b"".join(digest_pixels(decode(it)) for it in contents), np.uint8).reshape(-1, 16))


@pytest.mark.parametrize("kind", [PAIRS, TRIPLETS])
def test_good_rows_pass_and_get_their_docs(make, tmp_path, kind):
    verdict, said, quarantine = hold(make(kind), tmp_path / "docs", params_of(min_rows=TRAIN))
    assert verdict.passed, verdict.describe_reasons()
    assert quarantine == {}
    assert verdict.accepted.all()
    assert said["accepted"].all()
    assert said["key"].tolist() == [row["key"] for row in list_triplets()]
    assert (said["relation"] == ("" if kind == PAIRS else "colour")).all()
    assert kind in (tmp_path / "docs" / "index.html").read_text()
    assert list((tmp_path / "docs" / "validations").rglob("*.html"))


def put(number: int, **values: Any) -> Change:
    return lambda rows: rows[number].update(values)


def repeat(rows: list[Row], of: int, into: int, *names: str) -> None:
    rows[into] |= {name: rows[of][name] for name in names}


TRIPLET_FAULTS: dict[str, tuple[Change, str, set[int]]] = {
    "a relative caption without a text": (
        put(3, relative_captions=[""]), "expect_column_values_to_not_be_null(relative_caption)", {3},
    ),
    "a longest relative caption that is too long": (
        put(4, relative_captions=["short", "long " * 20]),
        "expect_column_value_lengths_to_be_between(relative_caption)", {4},
    ),
    "a target's caption that is too long": (
        put(5, target_caption="long " * 20), "expect_column_value_lengths_to_be_between(target_caption)", {5},
    ),
    "a reference that does not decode": (
        put(6, reference=picture(12)[:60]), "expect_column_values_to_not_be_null(reference_pixels)", {6},
    ),
    "a target that is no picture": (
        put(7, target=b"<html>"), "expect_column_values_to_not_be_null(target_pixels)", {7},
    ),
    "a training row that shows a picture of the validation split": (
        put(8, target=picture(2 * TRAIN)), "expect_column_values_to_be_null(held_out_twin)", {8},
    ),
    "no relation": (put(9, relation=None), "expect_column_values_to_not_be_null(relation)", {9}),
}  # fmt: skip
PAIR_FAULTS: dict[str, tuple[Change, str, set[int]]] = {
    "no text": (put(3, texts=["", ""]), "expect_column_values_to_not_be_null(text)", {3}),
    "a text that is too long": (
        put(4, texts=["short", "long " * 20]), "expect_column_value_lengths_to_be_between(text)", {4},
    ),
    "a picture that does not decode": (
        put(5, picture=b"\x89PNG"), "expect_column_values_to_not_be_null(reference_pixels)", {5},
    ),
    "a picture of the validation split": (
        put(6, picture=picture(2 * TRAIN)), "expect_column_values_to_be_null(held_out_twin)", {6},
    ),
}  # fmt: skip


@pytest.mark.parametrize(("kind", "faults"), [(PAIRS, PAIR_FAULTS), (TRIPLETS, TRIPLET_FAULTS)])
def test_rows_with_a_fault_are_quarantined_with_its_name_and_the_rest_goes_on(make, tmp_path, kind, faults):
    for name, (change, expectation, at) in faults.items():
        verdict, said, quarantine = hold(make(kind, change), tmp_path / name)
        assert verdict.passed, name
        assert quarantine.keys() == {f"row-{number:03d}" for number in at}, name
        assert all(expectation in failed for failed in quarantine.values()), (name, quarantine)
        assert set(np.flatnonzero(~verdict.accepted)) == at, name
        assert set(said.loc[~said["accepted"], "rejected_by"]) == set(quarantine.values()), name


def test_a_picture_that_is_missing_is_quarantined(make, tmp_path):
    made = make(PAIRS)
    tar = made.folder / "train-00000.tar"
    tar.write_bytes(tar.read_bytes()[:3000])  # the first two pictures are left
    again = make(PAIRS, lambda rows: None)  # embedded while all was there
    (again.folder / "train-00000.tar").write_bytes(tar.read_bytes())
    embed_anew(again)
    verdict, _, quarantine = hold(again, tmp_path / "docs")
    missing = np.load(again.embeddings / "states.npy") == 1
    assert 5 < missing.sum() < 12
    assert len(quarantine) == missing.sum()
    assert not verdict.passed  # more than a tenth
    assert "expect_column_values_to_not_be_null(reference_pixels)" in verdict.describe_reasons()


def embed_anew(made: Made) -> None:
    """Embed a set whose pictures changed under the rows."""
    encoder = made.folder.parent / "encoder-again"
    manifest = SetEmbeddings.load(made.embeddings).encoder
    assert manifest
    for path in made.embeddings.glob("*"):
        if path.suffix == ".json" and not path.name.startswith("."):
            path.unlink()
    del encoder
    raise NotImplementedError
