"""`compodiff index` over pictures of one's own, in a project whose parts are real and small."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from factories import draw_patches
from PIL import Image
from worlds.search import search_by_shell

from compodiff.embeddings import Embeddings
from compodiff.index.index import Index
from compodiff.index.manifest import read_manifest

PARAMS = Path(__file__).parents[2] / "params.yaml"
DARK_COOK = "twemoji-1F469-1F3FF-200D-1F373"


@pytest.fixture
def album(tmp_path) -> Path:
    for seed, name in enumerate(("beach.jpg", "new/cat.png", "new/dog.webp", "old/fire.gif", "old/snow.PNG")):
        path = tmp_path / "album" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        draw_patches(seed, 70, 50).save(path)
    return tmp_path / "album"


def test_the_index_holds_the_gallery_with_names_for_people(project, small_catalogue):
    index = Index.load(project / "artifacts" / "index")
    embeddings = Embeddings.load(project / "artifacts" / "benchmark_embeddings" / "emoji")
    assert sorted(index.picture_ids) == small_catalogue.list_distinct()
    np.testing.assert_array_equal(
        index.read_embedding(DARK_COOK), embeddings.pictures[embeddings.picture_row[DARK_COOK]]
    )
    names = dict(zip(index.picture_ids, index.pictures["name"], strict=True))
    assert names[DARK_COOK] == "woman cook with dark skin tone (twemoji)"
    assert index.manifest.pictures_root == "../benchmarks/emoji/gallery"


def test_a_folder_of_ones_own_is_indexed_then_searched_then_kept_up_to_date(project, compodiff, album):
    built = compodiff("index", "build", str(album), "--model", "artifacts")
    assert built[0] == 0, built[2]
    assert "5 pictures" in built[1]
    assert "5 newly encoded" in built[1]

    asked = ("--index", str(album), "--text", "at night", "--reference")
    answer = search_by_shell(compodiff, *asked, str(album / "new" / "cat.png"))
    assert {found["picture_id"] for found in answer["results"]} == {
        "beach.jpg", "new/dog.webp", "old/fire.gif", "old/snow.PNG"
    }  # fmt: skip
    assert Path(answer["results"][0]["file"]).is_file()
    assert search_by_shell(compodiff, *asked, "new/cat.png")["results"] == answer["results"]
    code, out, _ = compodiff("search", "--model", "artifacts", *asked, "new/cat.png", "--print0")
    assert code == 0
    assert out.split("\0")[:-1] == [found["file"] for found in answer["results"]]
    code, out, _ = compodiff("search", "--model", "artifacts", *asked, "new/cat.png")
    assert out.splitlines()[0].split() == ["#", "score", "picture"]

    (album / "beach.jpg").unlink()
    Image.new("RGB", (20, 20), "red").save(album / "red.png")
    code, out, _ = compodiff("index", "status", str(album))
    assert code == 0
    assert out.splitlines()[0].startswith("5 pictures in ")
    assert out.splitlines()[1:3] == ["added: red.png", "removed: beach.jpg"]
    assert "1 newly encoded" in compodiff("index", "build", str(album), "--model", "artifacts")[1]
    assert compodiff("index", "status", str(album))[1].count("\n") == 1


def test_pictures_are_added_to_an_index_and_removed_from_it(project, compodiff, album):
    assert compodiff("index", "build", str(album), "--model", "artifacts")[0] == 0
    Image.new("RGB", (20, 20), "red").save(album / "red.png")
    code, out, err = compodiff("index", "add", str(album), "--model", "artifacts")
    assert (code, "6 pictures in" in out, "1 newly encoded" in out) == (0, True, True), err
    assert compodiff("index", "add", str(album), "--model", "artifacts")[1] == "nothing to add\n"
    (album / "beach.jpg").unlink()
    assert "5 pictures in" in compodiff("index", "remove", str(album))[1]
    assert "4 pictures in" in compodiff("index", "remove", str(album), "new/cat.png")[1]
    assert compodiff("index", "status", str(album))[1].splitlines()[1:2] == ["added: new/cat.png"]
    code, _, err = compodiff("index", "add", str(album), str(album.parent / "away.png"), "--model", "artifacts")
    assert (code, "away.png is not in" in err) == (1, True)
    code, _, err = compodiff("index", "remove", str(album), "nobody.png")
    assert (code, "holds no picture 'nobody.png'" in err) == (1, True)


def test_an_index_elsewhere_is_searched_by_its_own_path(project, compodiff, album, tmp_path):
    assert compodiff("index", "build", str(album), "--model", "artifacts", "--out", str(tmp_path / "there"))[0] == 0
    answer = search_by_shell(compodiff, "--index", str(tmp_path / "there"), "--text", "a cat")
    assert len(answer["results"]) == 5


def test_broken_pictures_are_named_and_left_out_unless_the_build_is_strict(project, compodiff, album):
    (album / "broken\n.png").write_bytes(b"no picture")
    (album / "film.mov").write_bytes(b"no picture")
    code, _, err = compodiff("index", "build", str(album), "--model", "artifacts", "--strict")
    assert code == 1
    assert err.splitlines()[-1].startswith("compodiff: 1 of 6 pictures cannot be read: broken\\n.png (not a JPEG")
    for flags in ((), ("--skip-unreadable",)):
        code, out, err = compodiff("index", "build", str(album), "--model", "artifacts", *flags)
        assert code == 0
        assert "left out: broken\\n.png (not a JPEG, PNG, WebP, GIF, TIFF, BMP, AVIF or JPEG 2000 picture)" in err
        assert "1 files of other kinds left out: 1 .mov" in err
        assert "5 pictures" in out
    code, out, _ = compodiff("index", "status", str(album))
    assert (code, [line.split(" (")[0] for line in out.splitlines()[1:]]) == (0, ["left out: broken\\n.png"])


def test_an_index_of_another_encoder_is_refused(project, compodiff, album, tmp_path):
    assert compodiff("index", "build", str(album), "--model", "artifacts")[0] == 0
    manifest = album / ".compodiff" / "manifest.json"
    content = json.loads(manifest.read_text())
    content["encoder"]["picture"]["weights_digest"] = "f" * 64
    manifest.write_text(json.dumps(content))
    code, _, err = compodiff("search", "--model", "artifacts", "--index", str(album), "--text", "a cat")
    assert code == 4
    assert "(ffffffff), the model works on" in err
    assert "run: compodiff index build" in err
    assert "5 newly encoded" in compodiff("index", "build", str(album), "--model", "artifacts")[1]


def test_the_params_of_the_project_are_those_the_index_is_built_with(project, compodiff, album, monkeypatch, tmp_path):
    params = yaml.safe_load(PARAMS.read_text())
    params["index"] |= {"flat_up_to": 4, "kind": "ivf_sq8", "lists": 2, "probes": 2}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
    monkeypatch.chdir(tmp_path)
    assert compodiff("index", "build", str(album), "--model", str(project / "artifacts"))[0] == 0
    assert read_manifest(album / ".compodiff").kind == "ivf_sq8"
    assert len(pd.read_parquet(album / ".compodiff" / "pictures.parquet")) == 5
