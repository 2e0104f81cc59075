"""`compodiff index` over pictures of one's own, in a project whose parts are real and small."""

import json
import os
import signal
import threading
import time
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
    assert out.splitlines()[1].startswith("columns: name (5), ")
    assert out.splitlines()[2:4] == ["added: red.png", "removed: beach.jpg"]
    assert "1 newly encoded" in compodiff("index", "build", str(album), "--model", "artifacts")[1]
    assert compodiff("index", "status", str(album))[1].count("\n") == 2


def test_pictures_are_added_to_an_index_and_removed_from_it(project, compodiff, album):
    assert compodiff("index", "build", str(album), "--model", "artifacts")[0] == 0
    Image.new("RGB", (20, 20), "red").save(album / "red.png")
    code, out, err = compodiff("index", "add", str(album), "--model", "artifacts")
    assert (code, "6 pictures in" in out, "1 newly encoded" in out) == (0, True, True), err
    assert compodiff("index", "add", str(album), "--model", "artifacts")[1] == "nothing to add\n"
    (album / "beach.jpg").unlink()
    assert "5 pictures in" in compodiff("index", "remove", str(album))[1]
    assert "4 pictures in" in compodiff("index", "remove", str(album), "new/cat.png")[1]
    assert compodiff("index", "status", str(album))[1].splitlines()[2:3] == ["added: new/cat.png"]
    code, _, err = compodiff("index", "add", str(album), str(album.parent / "away.png"), "--model", "artifacts")
    assert (code, "away.png is not in" in err) == (1, True)
    code, _, err = compodiff("index", "remove", str(album), "nobody.png")
    assert (code, "holds no picture 'nobody.png'" in err) == (1, True)


def test_an_index_elsewhere_is_searched_by_its_own_path(project, compodiff, album, tmp_path):
    assert compodiff("index", "build", str(album), "--model", "artifacts", "--out", str(tmp_path / "there"))[0] == 0
    answer = search_by_shell(compodiff, "--index", str(tmp_path / "there"), "--text", "a cat")
    assert len(answer["results"]) == 5


def test_a_folder_whose_name_is_not_utf_8_has_its_index_elsewhere(project, compodiff, album, tmp_path):
    odd = album.rename(tmp_path / os.fsdecode(b"album\xff"))
    code, _, err = compodiff("index", "build", str(odd), "--model", "artifacts")
    assert code == 1
    assert err.endswith(
        "album\\udcff/.compodiff has a name that is not UTF-8; rename it, or name another place with --out\n"
    )
    assert compodiff("index", "build", str(odd), "--model", "artifacts", "--out", str(tmp_path / "there"))[0] == 0
    answer = search_by_shell(compodiff, "--index", str(tmp_path / "there"), "--text", os.fsdecode(b"a cat\xff"))
    assert answer["query"]["text"] == "a cat\udcff"
    assert all(Path(hit["file"]).is_relative_to(odd) for hit in answer["results"])
    moved = (tmp_path / "there").rename(tmp_path / os.fsdecode(b"there\xff"))
    assert "not UTF-8; rename it" in compodiff("search", "--index", str(moved), "--text", "a cat")[2]


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
        assert "1 file of another kind left out: 1 .mov" in err
        assert "5 pictures" in out
    code, out, _ = compodiff("index", "status", str(album))
    assert (code, [line.split(" (")[0] for line in out.splitlines()[2:]]) == (0, ["left out: broken\\n.png"])


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


def test_several_folders_with_patterns_are_one_index(project, compodiff, album, tmp_path):
    draw_patches(30).save(tmp_path / "aside.png")
    (tmp_path / "nas").mkdir()
    draw_patches(31).save(tmp_path / "nas" / "boat.png")
    draw_patches(32).save(tmp_path / "nas" / "boat.draft.png")
    out = ("--out", str(tmp_path / "there"))
    both = ("index", "build", str(album), str(tmp_path / "nas"), "--model", "artifacts")
    code, _, err = compodiff(*both)
    assert (code, "2 folders need a place for their index; name one with --out" in err) == (1, True)
    code, said, err = compodiff(*both, *out, "--exclude", "*.draft.png", "--exclude", "old/")
    assert (code, "4 pictures in" in said, "2 passed over: 2 by your patterns" in err) == (0, True, True), err

    draw_patches(33).save(tmp_path / "nas" / "new.draft.png")
    draw_patches(34).save(tmp_path / "nas" / "new.png")
    status = json.loads(compodiff("index", "status", str(album), *out, "--json")[1])
    assert (status["added"], status["columns"]["orientation"]) == (["nas/new.png"], 4)
    assert status["exclude"] == ["*.draft.png", "old/"]
    assert "5 pictures in" in compodiff("index", "add", str(tmp_path / "nas"), *out, "--model", "artifacts")[1]
    found = search_by_shell(compodiff, "--index", out[1], "--text", "boat", "--filter", "folder = 'nas'")
    assert {each["picture_id"] for each in found["results"]} == {"nas/boat.png", "nas/new.png"}
    code, _, err = compodiff("index", "build", str(album), *out, "--model", "artifacts")
    assert (code, "is of the folder" in err) == (1, True)


@pytest.mark.timeout(120)
@pytest.mark.parametrize(("ended_by", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_a_watched_folder_is_followed_until_the_watch_is_ended(project, compodiff, album, ended_by, code):
    assert compodiff("index", "build", str(album), "--model", "artifacts")[0] == 0
    whole = (album / "new" / "cat.png").read_bytes()

    def copy_then_end() -> None:
        path = album / "copied.png"
        for end in (len(whole) // 2, len(whole)):
            path.write_bytes(whole[:end])
            time.sleep(0.1)
        (album / "Thumbs.db").touch()
        while read_manifest(album / ".compodiff").count < 6:
            time.sleep(0.1)
        os.kill(os.getpid(), ended_by)

    before = signal.getsignal(signal.SIGTERM)
    person = threading.Thread(target=copy_then_end, daemon=True)
    person.start()
    try:
        ended, _, err = compodiff("index", "add", str(album), "--model", "artifacts", "--watch", "--every", "0.3")
    finally:
        signal.signal(signal.SIGTERM, before)
    person.join(10)
    assert (ended, "left out: copied.png" in err) == (code, False), err
    assert "copied.png" in Index.load(album / ".compodiff").picture_ids
    assert compodiff("index", "add", str(album), "--watch", "--strict")[0] == 1
