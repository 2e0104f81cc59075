import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from factories import draw_patches, encode_picture
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from typer.testing import CliRunner
from worlds.tiny_networks import safety_checker

from compodiff.cleaning import clean as cleaning
from compodiff.cleaning.clean import FINDINGS, CleaningRules, clean, find
from compodiff.cleaning.gallery import BenchmarkGallery
from compodiff.cleaning.survey import Survey, Surveyor
from compodiff.cli import app
from compodiff.encoders import Encoder
from compodiff.errors import InputInvalid
from compodiff.images.looks import LOOK_SHAPE
from compodiff.storage import shards

RULES = CleaningRules(near_duplicate=0.9, any_caption=False, contaminated=0.99)
NOTHING = BenchmarkGallery((), np.empty((0, 16), np.float16))


def encoded(seed: int, form: str = "PNG", size: int = 48) -> bytes:
    return encode_picture(draw_patches(seed, size, size), form, quality=90)


# key -> reference, target, relative caption; a number is a picture's seed.
TRIPLETS: dict[str, tuple[Any, Any, str]] = {
    "train-00": (1, 2, "make it red"),
    "train-01": (3, 4, "make it red"),
    "train-02": (encoded(1, "JPEG", 64), encoded(2, "JPEG"), "Make it  red"),  # of train-00
    "train-03": (1, 2, "turn it red"),  # the same pictures asked for otherwise
    "train-04": (1, 5, "make it red"),  # only the reference is the same
    "train-05": (b"no picture", 6, "make it blue"),
    "train-06": (7, 8, "make it blue"),
    "validation-00": (3, 4, "make it red"),  # of train-01
}


def write_dataset(folder: Path, triplets: dict[str, tuple[Any, Any, str]], per_shard: int = 3) -> Path:
    keys = list(triplets)
    for number, first in enumerate(range(0, len(keys), per_shard)):
        with shards.open_shard_writer(folder / f"train-{number:05d}.tar") as shard:
            for key in keys[first : first + per_shard]:
                pair = [it if isinstance(it, bytes) else encoded(it) for it in triplets[key][:2]]
                shard.add(key, {"reference.png": pair[0], "target.png": pair[1], "json": b"{}"})
            shard.record(described(keys[first : first + per_shard], triplets))
    return folder


def described(keys: list[str], triplets: dict[str, tuple[Any, Any, str]]) -> pd.DataFrame:
    shown = [{"key": key, "relative_caption": triplets[key][2], "accepted": True, "rejected_by": ""} for key in keys]
    refused = [shown[0] | {"key": f"{keys[0]}-rejected", "accepted": False, "rejected_by": "directional"}]
    return pd.DataFrame(shown + refused).assign(relation="colour", split="train")


@pytest.fixture
def dataset(tmp_path: Path, one_process: None) -> Path:
    return write_dataset(tmp_path / "dataset", TRIPLETS)


def surveyor(to: Path, encoder: Path, checker: str | None = None) -> Surveyor:
    return Surveyor(to / "facts", encoder, checker, batch_size=4)


def kept(folder: Path) -> dict[str, dict[str, bytes]]:
    return {key: files for path in sorted(folder.glob("*.tar")) for key, files in shards.read_entries(path)}


def test_near_duplicates_and_unreadable_pictures_are_left_out_of_the_copy_and_stay_in_its_manifest(
    dataset, encoder_folder, tmp_path
):
    to, before = tmp_path / "clean", {path: path.read_bytes() for path in dataset.iterdir()}
    report = clean(dataset, to, surveyor(to, encoder_folder), NOTHING, RULES)
    left_out = {"train-02": "near_duplicate", "train-05": "unreadable", "validation-00": "near_duplicate"}
    assert kept(to) == {key: files for key, files in kept(dataset).items() if key not in left_out}
    rows = shards.read_table(to / "manifest.parquet").set_index("key")
    assert rows.loc[~rows["accepted"], "rejected_by"].to_dict() == left_out | {
        f"train-{number:02d}-rejected": "directional" for number in (0, 3, 6)
    }
    assert report["accepted"] == len(kept(to)) == 5
    assert report["left_out"] == {"near_duplicate": 2, "unreadable": 1}
    findings = shards.read_table(to / FINDINGS).set_index("key")
    assert findings["match"].to_dict() == {"train-02": "train-00", "train-05": "", "validation-00": "train-01"}
    assert findings.at["train-05", "picture"] == "reference"
    assert findings.at["validation-00", "cosine"] == pytest.approx(1, abs=2e-3)
    assert {path: path.read_bytes() for path in dataset.iterdir()} == before


def test_with_any_caption_the_words_do_not_matter(dataset, encoder_folder, tmp_path):
    to = tmp_path / "clean"
    rules = CleaningRules(near_duplicate=0.9, any_caption=True, contaminated=0.99)
    clean(dataset, to, surveyor(to, encoder_folder), NOTHING, rules)
    assert set(TRIPLETS) - set(kept(to)) == {"train-02", "train-03", "train-05", "validation-00"}


def test_pictures_of_a_benchmark_are_left_out_and_named(dataset, encoder_folder, tiny_encoder, tmp_path):
    to = tmp_path / "clean"
    shown: Iterator[tuple[str, Image.Image]] = (
        (f"cirr/{seed}", draw_patches(seed, 48, 48)) for seed in (40, 41, 8, 42)
    )
    gallery = BenchmarkGallery.embed(shown, tiny_encoder, 2)
    rules = CleaningRules(near_duplicate=0.9, any_caption=False, contaminated=0.9999)
    clean(dataset, to, surveyor(to, encoder_folder), gallery, rules)
    findings = shards.read_table(to / FINDINGS).query("rejected_by == 'contaminated'")
    assert findings[["key", "picture", "match"]].to_numpy().tolist() == [["train-06", "target", "cirr/8"]]
    assert "train-06" not in kept(to)


def test_unsafe_pictures_are_left_out(dataset, encoder_folder, tmp_path):
    to, calm = tmp_path / "clean", safety_checker(tmp_path / "calm", alarmed=False)
    assert "unsafe" not in clean(dataset, to, surveyor(to, encoder_folder, str(calm)), NOTHING, RULES)["left_out"]
    alarmed = safety_checker(tmp_path / "alarmed", alarmed=True)
    with pytest.raises(InputInvalid, match=r"nothing would be left of .*'unsafe': 8"):
        clean(dataset, to, surveyor(to, encoder_folder, str(alarmed)), NOTHING, RULES)


def test_a_run_that_was_killed_continues_and_has_the_same_bytes(dataset, encoder_folder, tmp_path, monkeypatch):
    def bytes_of(folder: Path) -> dict[str, bytes]:
        return {str(it.relative_to(folder)): it.read_bytes() for it in sorted(folder.rglob("*")) if it.is_file()}

    whole, to = tmp_path / "whole", tmp_path / "clean"
    clean(dataset, whole, surveyor(whole, encoder_folder), NOTHING, RULES)

    class Killed(Exception):
        pass

    called = []

    def dying(function, items, **_):
        for item in items:
            called.append((type(function).__name__, item.name))
            if len(called) in (2, 6):
                raise Killed
            yield item, function(item)

    monkeypatch.setattr(cleaning, "map_shards", dying)
    for _ in range(2):
        with pytest.raises(Killed):
            clean(dataset, to, surveyor(to, encoder_folder), NOTHING, RULES)
    clean(dataset, to, surveyor(to, encoder_folder), NOTHING, RULES)
    assert bytes_of(to) == bytes_of(whole)
    done = [name for name, _ in called]
    assert done == ["Surveyor"] * 4 + ["_Copier"] * 4  # one of each again, as it was killed


def test_other_rules_copy_again_and_look_at_no_picture_again(dataset, encoder_folder, tmp_path, monkeypatch):
    to = tmp_path / "clean"
    clean(dataset, to, surveyor(to, encoder_folder), NOTHING, RULES)
    monkeypatch.setattr(Surveyor, "__call__", lambda *_: pytest.fail("looked at again"))
    clean(dataset, to, surveyor(to, encoder_folder), NOTHING, CleaningRules(1.1, any_caption=False, contaminated=1.1))
    assert set(TRIPLETS) - set(kept(to)) == {"train-05"}
    assert shards.read_table(to / "manifest.parquet")["accepted"].sum() == 7


def test_what_is_no_cleaned_copy_is_never_overwritten(dataset, encoder_folder, tmp_path):
    for folder in (dataset, tmp_path / "mine"):
        folder.mkdir(exist_ok=True)
        (folder / "letter.txt").write_text("dear")
        with pytest.raises(InputInvalid, match=r"holds (what is read|'letter\.txt', which compodiff did not write)"):
            clean(dataset, folder, surveyor(folder, encoder_folder), NOTHING, RULES)
        assert (folder / "letter.txt").read_text() == "dear"
    with pytest.raises(InputInvalid, match="holds no shard"):
        clean(tmp_path / "mine", tmp_path / "to", surveyor(tmp_path / "to", encoder_folder), NOTHING, RULES)


def test_a_shard_cut_short_is_named(dataset, encoder_folder, tmp_path):
    path = dataset / "train-00001.tar"
    path.write_bytes(path.read_bytes()[:-600])
    with pytest.raises(InputInvalid, match=r"train-00001\.tar is cut short"):
        clean(dataset, tmp_path / "to", surveyor(tmp_path / "to", encoder_folder), NOTHING, RULES)


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4), st.sampled_from("ab")), min_size=1, max_size=12))
@settings(max_examples=40, deadline=None)
def test_the_first_key_of_near_duplicates_wins_whatever_the_chunks(triplets):
    """Against the obvious loop over all pairs, with chunks of two triplets."""
    directions, looks = np.eye(5, dtype=np.float16), np.arange(0, 250, 50, dtype=np.uint8)
    keys = [f"k{(7 * number) % len(triplets) if len(triplets) % 7 else number:02d}" for number in range(len(triplets))]
    shown = np.array([pair[:2] for pair in triplets])
    grids = np.broadcast_to(looks[shown][:, :, None], (len(triplets), 2, *LOOK_SHAPE))
    survey = Survey(keys, {}, np.array([0, len(keys)]), [directions[shown]], [grids])
    rows = pd.DataFrame({"key": keys, "relative_caption": [asks for *_, asks in triplets]})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cleaning, "_AT_ONCE", 2)
        found = find(survey, rows, BenchmarkGallery((), np.empty((0, 5), np.float16)), RULES)
    first: dict[tuple[int, int, str], str] = {}
    expected = {}
    for key, triplet in sorted(zip(keys, triplets, strict=True)):
        if first.setdefault(triplet, key) != key:
            expected[key] = first[triplet]
    assert found.set_index("key")["match"].to_dict() == expected


def test_near_embeddings_alone_are_no_duplicates():
    embeddings = np.ones((2, 2, 4), np.float16) / 2
    looks = np.zeros((2, 2, *LOOK_SHAPE), np.uint8)
    looks[1, 1, :3] = 60  # one cell of the targets differs
    rows = pd.DataFrame({"key": ["a", "b"], "relative_caption": "later"})
    nothing = BenchmarkGallery((), np.empty((0, 4), np.float16))
    for different, expected in ((looks, []), (looks * 0, ["b"])):
        survey = Survey(["a", "b"], {}, np.array([0, 2]), [embeddings], [different])
        assert find(survey, rows, nothing, RULES)["key"].tolist() == expected


def test_the_command_cleans_against_a_folder_and_against_the_queries_of_a_split(
    dataset, encoder_folder, tmp_path, monkeypatch
):
    bench = tmp_path / "bench"
    (bench / "gallery").mkdir(parents=True)
    for seed in (4, 8, 50):
        draw_patches(seed, 48, 48).save(bench / "gallery" / f"{seed}.png")
    (bench / "queries.jsonl").write_text(json.dumps({"reference": "50", "target": "8", "relative_caption": "x"}) + "\n")
    arguments = ["dataset", "clean", str(dataset), "--encoder", str(encoder_folder), "--benchmark", str(bench)]
    arguments += ["--contaminated", "0.9999", "--near-duplicate", "0.9", "--json"]

    def cleaned(name: str, *extra: str) -> int:
        result = CliRunner().invoke(app, [*arguments, *extra, "--to", str(tmp_path / name)])
        assert result.exit_code == 0, result.output
        return int(json.loads(result.stdout)["left_out"]["contaminated"])

    assert cleaned("whole") == 3
    assert cleaned("split", "--split", "test") == 1
    embedded = []
    encode = Encoder.encode_images
    monkeypatch.setattr(Encoder, "encode_images", lambda self, *them: embedded.append(them) or encode(self, *them))
    assert cleaned("whole") == 3
    assert not embedded  # neither the dataset's pictures nor the benchmark's
    draw_patches(77, 48, 48).save(bench / "gallery" / "77.png")
    assert cleaned("whole") == 3
    assert len(embedded) == 1
