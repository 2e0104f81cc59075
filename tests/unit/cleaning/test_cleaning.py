import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from factories import draw_patches, encode_picture
from PIL import Image
from typer.testing import CliRunner
from worlds.tiny_networks import safety_checker

from compodiff.cleaning import referring
from compodiff.cleaning.clean import FINDINGS, clean
from compodiff.cleaning.findings import CleaningRules
from compodiff.cleaning.gallery import BenchmarkGallery
from compodiff.cleaning.survey import Surveyor
from compodiff.cli import app
from compodiff.encoders import Encoder
from compodiff.errors import InputInvalid
from compodiff.sets import PAIRS, TRIPLETS, Place, finish_set, open_set, open_shard
from compodiff.storage import tables

RULES = CleaningRules(near_duplicate=0.9, any_caption=False, contaminated=0.99)
NOTHING = BenchmarkGallery((), np.empty((0, 16), np.float16))


def picture(seed: int) -> Image.Image:
    """Large blobs of colour, which survive compression."""
    return draw_patches(seed, 48, 48)


def encoded(image: Image.Image, form: str = "PNG", size: int = 48) -> bytes:
    return encode_picture(image.resize((size, size)), form, quality=90)


# key -> reference, target, relative caption; a number is a picture's seed.
SHOWN: dict[str, tuple[Any, Any, str]] = {
    "train-00": (1, 2, "make it red"),
    "train-01": (3, 4, "make it red"),
    "train-02": (encoded(picture(1), "JPEG", 64), encoded(picture(2), "JPEG"), "Make it  red"),  # of train-00
    "train-03": (1, 2, "turn it red"),  # the same pictures asked for otherwise
    "train-04": (1, 5, "make it red"),  # only the reference is the same
    "train-05": (b"no picture", 6, "make it blue"),
    "train-06": (7, 8, "make it blue"),
    "validation-00": (3, 4, "make it red"),  # of train-01
}


def write_set(folder: Path, triplets: dict[str, tuple[Any, Any, str]], per_shard: int = 3) -> Path:
    """A set whose pictures lie in its own tars, but for one, which lies beside it."""
    (folder.parent / "loose.png").write_bytes(encoded(picture(8)))
    loose = Place("8", "../loose.png")
    for split in ("train", "validation"):
        keys = [key for key in triplets if key.startswith(split)]
        for number, first in enumerate(range(0, len(keys), per_shard)):
            with open_shard(folder, split, number, TRIPLETS) as shard:
                for key in keys[first : first + per_shard]:
                    *pair, asks = triplets[key]
                    ends = [
                        loose
                        if it == 8
                        else shard.store_picture(f"{key}-{end}", it if isinstance(it, bytes) else encoded(picture(it)))
                        for end, it in enumerate(pair)
                    ]
                    shard.add(described(key, asks) | {"reference": ends[0], "target": ends[1], "negatives": [loose]})
    finish_set(folder, TRIPLETS, licence="CC0", source="a test")
    return folder


def described(key: str, asks: str) -> dict[str, Any]:
    none = dict.fromkeys(("reference_caption", "target_caption", "keyword", "mask"))
    return {"key": key, "relative_captions": [asks], "relation": "colour"} | none


@pytest.fixture
def dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("COMPODIFF_WORKERS", "1")
    return write_set(tmp_path / "dataset", SHOWN)


def cleaned(
    dataset: Path,
    to: Path,
    encoder: Path,
    gallery: BenchmarkGallery = NOTHING,
    rules: CleaningRules = RULES,
    checker: str | None = None,
) -> dict[str, Any]:
    return clean(to, Surveyor(str(dataset), to / "facts", encoder, checker, batch_size=4), gallery, rules)


def kept(folder: Path) -> dict[str, list[bytes]]:
    """Key -> the bytes of all pictures that the row refers to."""
    opened = open_set(folder)
    return {
        row["key"]: [
            opened.places.read(Place.of(place)) for place in (row["reference"], row["target"], *row["negatives"])
        ]
        for row in opened.iterate_rows()
    }


def test_near_duplicates_and_unreadable_pictures_are_left_out_and_the_rest_refers_to_the_same_pictures(
    dataset, encoder_folder, tmp_path
):
    to, before = tmp_path / "deep" / "clean", {path: path.read_bytes() for path in dataset.iterdir()}
    report = cleaned(dataset, to, encoder_folder)
    left_out = {"train-02": "near_duplicate", "train-05": "unreadable", "validation-00": "near_duplicate"}
    assert kept(to) == {key: files for key, files in kept(dataset).items() if key not in left_out}
    assert not list(to.glob("*.tar"))  # no picture is copied
    assert (report["candidates"], report["accepted"]) == (8, 5)
    assert report["left_out"] == {"near_duplicate": 2, "unreadable": 1}
    description = open_set(to).description
    assert (description.licence, dict(description.notes)) == ("CC0", report["left_out"])
    assert description.rows == {"train": 5, "validation": 0}
    findings = tables.read_table(to / FINDINGS).set_index("key")
    assert findings["rejected_by"].to_dict() == left_out
    assert findings["match"].to_dict() == {"train-02": "train-00", "train-05": "", "validation-00": "train-01"}
    assert findings.at["train-05", "picture"] == "reference"
    assert findings.at["validation-00", "cosine"] == pytest.approx(1, abs=2e-3)
    assert {path: path.read_bytes() for path in dataset.iterdir()} == before


def test_pairs_are_cleaned_by_their_one_picture(encoder_folder, tmp_path, monkeypatch):
    monkeypatch.setenv("COMPODIFF_WORKERS", "1")
    shown = {"a": (1, "a cat"), "b": (1, "A  cat"), "c": (1, "a dog"), "d": (b"no picture", "a cow")}
    with open_shard(tmp_path / "pairs", "train", 0, PAIRS) as shard:
        for key, (it, text) in shown.items():
            content = it if isinstance(it, bytes) else encoded(picture(it))
            shard.add({"key": key, "picture": shard.store_picture(key, content), "texts": [text]})
    finish_set(tmp_path / "pairs", PAIRS, licence="CC0", source="a test")
    to = tmp_path / "clean"
    assert cleaned(tmp_path / "pairs", to, encoder_folder)["left_out"] == {"near_duplicate": 1, "unreadable": 1}
    assert [row["key"] for row in open_set(to).iterate_rows()] == ["a", "c"]
    assert tables.read_table(to / FINDINGS).set_index("key")["picture"].to_dict() == {"b": "picture", "d": "picture"}


def test_with_any_caption_the_words_do_not_matter(dataset, encoder_folder, tmp_path):
    cleaned(dataset, tmp_path / "clean", encoder_folder, rules=CleaningRules(0.9, any_caption=True, contaminated=0.99))
    assert set(SHOWN) - set(kept(tmp_path / "clean")) == {"train-02", "train-03", "train-05", "validation-00"}


def test_pictures_of_a_benchmark_are_left_out_and_named(dataset, encoder_folder, tiny_encoder, tmp_path):
    to = tmp_path / "clean"
    shown: Iterator[tuple[str, Image.Image]] = ((f"cirr/{seed}", picture(seed)) for seed in (40, 41, 8, 42))
    gallery = BenchmarkGallery.embed(shown, tiny_encoder, 2)
    cleaned(dataset, to, encoder_folder, gallery, CleaningRules(0.9, any_caption=False, contaminated=0.9999))
    findings = tables.read_table(to / FINDINGS).query("rejected_by == 'contaminated'")
    assert findings[["key", "picture", "match"]].to_numpy().tolist() == [["train-06", "target", "cirr/8"]]
    assert "train-06" not in kept(to)


def test_unsafe_pictures_are_left_out(dataset, encoder_folder, tmp_path):
    to, calm = tmp_path / "clean", safety_checker(tmp_path / "calm", alarmed=False)
    assert "unsafe" not in cleaned(dataset, to, encoder_folder, checker=str(calm))["left_out"]
    alarmed = safety_checker(tmp_path / "alarmed", alarmed=True)
    with pytest.raises(InputInvalid, match=r"nothing would be left in .*'unsafe': 8"):
        cleaned(dataset, to, encoder_folder, checker=str(alarmed))


def test_a_run_that_was_killed_continues_and_has_the_same_bytes(dataset, encoder_folder, tmp_path, monkeypatch):
    def bytes_of(folder: Path) -> dict[str, bytes]:
        return {str(it.relative_to(folder)): it.read_bytes() for it in sorted(folder.rglob("*")) if it.is_file()}

    whole, to = tmp_path / "whole", tmp_path / "clean"
    cleaned(dataset, whole, encoder_folder)

    class Killed(Exception):
        pass

    called = []

    def dying(function, items, **_):
        for item in items:
            called.append(type(function).__name__)
            if len(called) in (2, 7):
                raise Killed
            yield item, function(item)

    monkeypatch.setattr(referring, "map_shards", dying)
    for _ in range(2):
        with pytest.raises(Killed):
            cleaned(dataset, to, encoder_folder)
    cleaned(dataset, to, encoder_folder)
    assert bytes_of(to) == bytes_of(whole)
    assert called == ["Surveyor"] * 5 + ["_Referrer"] * 5  # one of each again, as it was killed


def test_other_rules_write_rows_again_and_look_at_no_picture_again(dataset, encoder_folder, tmp_path, monkeypatch):
    to = tmp_path / "clean"
    cleaned(dataset, to, encoder_folder)
    monkeypatch.setattr(Surveyor, "__call__", lambda *_: pytest.fail("looked at again"))
    report = cleaned(dataset, to, encoder_folder, rules=CleaningRules(1.1, any_caption=False, contaminated=1.1))
    assert set(SHOWN) - set(kept(to)) == {"train-05"}
    assert report["accepted"] == 7


def test_damaged_facts_are_named_with_a_way_out(dataset, encoder_folder, tmp_path):
    to = tmp_path / "clean"
    before = cleaned(dataset, to, encoder_folder)
    for path in (to / "facts").glob("*embeddings.npy"):
        path.write_bytes(path.read_bytes()[:90])
    with pytest.raises(InputInvalid, match=r"embeddings\.npy is missing or damaged .*; remove .*facts and run again"):
        cleaned(dataset, to, encoder_folder)
    shutil.rmtree(to / "facts")
    assert cleaned(dataset, to, encoder_folder) == before


def test_a_damaged_gallery_of_the_last_run_is_named_with_a_way_out(tmp_path):
    path = tmp_path / "gallery.npz"
    NOTHING.save(path, "mine")
    assert BenchmarkGallery.load(path, "mine") is not None
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b"NUMPY", b"NUMPI"))
    with pytest.raises(InputInvalid, match=r"gallery\.npz is missing or damaged .*; remove it and run again"):
        BenchmarkGallery.load(path, "mine")


def test_what_is_no_cleaned_set_is_never_overwritten(dataset, encoder_folder, tmp_path):
    for folder in (dataset, tmp_path / "mine"):
        folder.mkdir(exist_ok=True)
        (folder / "letter.txt").write_text("dear")
        with pytest.raises(InputInvalid, match=r"holds (what is read|'letter\.txt', which compodiff did not write)"):
            cleaned(dataset, folder, encoder_folder)
        assert (folder / "letter.txt").read_text() == "dear"
    with pytest.raises(InputInvalid, match=r"set\.json is not there"):
        cleaned(tmp_path / "mine", tmp_path / "to", encoder_folder)


def test_a_shard_cut_short_is_named(dataset, encoder_folder, tmp_path):
    path = dataset / "train-00001.parquet"
    path.write_bytes(path.read_bytes()[:-600])
    with pytest.raises(InputInvalid, match=r"train-00001\.parquet is not the shard that set\.json seals"):
        cleaned(dataset, tmp_path / "to", encoder_folder)


def test_the_command_cleans_against_a_folder_and_against_the_queries_of_a_split(
    dataset, encoder_folder, tmp_path, monkeypatch
):
    bench = tmp_path / "bench"
    (bench / "gallery").mkdir(parents=True)
    for seed in (4, 8, 50):
        picture(seed).save(bench / "gallery" / f"{seed}.png")
    (bench / "queries.jsonl").write_text(json.dumps({"reference": "50", "target": "8", "relative_caption": "x"}) + "\n")
    arguments = ["dataset", "clean", str(dataset), "--encoder", str(encoder_folder), "--benchmark", str(bench)]
    arguments += ["--contaminated", "0.9999", "--near-duplicate", "0.9", "--json"]

    def contaminated(name: str, *extra: str) -> int:
        result = CliRunner().invoke(app, [*arguments, *extra, "--to", str(tmp_path / name)])
        assert result.exit_code == 0, result.output
        return int(json.loads(result.stdout)["left_out"]["contaminated"])

    assert contaminated("whole") == 3
    assert contaminated("split", "--split", "test") == 1
    embedded = []
    encode = Encoder.encode_images
    monkeypatch.setattr(Encoder, "encode_images", lambda self, *them: embedded.append(them) or encode(self, *them))
    assert contaminated("whole") == 3
    assert not embedded  # neither the dataset's pictures nor the benchmark's
    picture(77).save(bench / "gallery" / "77.png")
    assert contaminated("whole") == 3
    assert len(embedded) == 1
