"""`compodiff search` and `compodiff index` in a project whose parts are real and small."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image

from compodiff import Blend, Searcher
from compodiff.cli import main
from compodiff.embeddings import Embeddings
from compodiff.index.index import Index
from compodiff.index.manifest import read_manifest

PARAMS = Path(__file__).parents[2] / "params.yaml"
COOK, DARK_COOK = "👩‍🍳", "twemoji-1F469-1F3FF-200D-1F373"


@pytest.fixture
def project(search_project) -> Path:
    return search_project


@pytest.fixture
def album(tmp_path) -> Path:
    generator = np.random.default_rng(0)
    for name in ("beach.jpg", "new/cat.png", "new/dog.webp", "old/fire.gif", "old/snow.PNG"):
        path = tmp_path / "album" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        colour = generator.integers(0, 256, 3)
        Image.fromarray(np.clip(colour + generator.normal(0, 30, (50, 70, 3)), 0, 255).astype(np.uint8)).save(path)
    return tmp_path / "album"


@pytest.fixture
def compodiff(project, monkeypatch, capsys):
    """Run the command line in the project, in this process; return (exit code, stdout, stderr)."""
    monkeypatch.chdir(project)

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["compodiff", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, err

    return run


def _searched(compodiff, *arguments: str) -> dict:
    code, out, err = compodiff("search", "--model", "artifacts", "--json", *arguments)
    assert code == 0, err
    return json.loads(out)


def test_the_index_holds_the_gallery_with_names_for_people(project, small_catalogue):
    index = Index.load(project / "artifacts" / "index")
    embeddings = Embeddings.load(project / "artifacts" / "embeddings")
    assert sorted(index.picture_ids) == small_catalogue.list_distinct()
    np.testing.assert_array_equal(
        index.read_embedding(DARK_COOK), embeddings.pictures[embeddings.picture_row[DARK_COOK]]
    )
    names = dict(zip(index.picture_ids, index.pictures["name"], strict=True))
    assert names[DARK_COOK] == "woman cook with dark skin tone (twemoji)"
    assert index.manifest.pictures_root == "../benchmark/gallery"


def test_the_installed_command_answers_with_one_json_object(project):
    result = subprocess.run(
        [Path(sys.executable).with_name("compodiff"), "search", "--model", "artifacts", "--json", "-k", "4",
         "--reference", COOK, "--text", "with dark skin", "--w-text", "5", "--steps", "1", "--seed", "8"],
        cwd=project,
        capture_output=True,
        text=True,
        check=True,
    )  # fmt: skip
    answer = json.loads(result.stdout)
    assert result.stderr == ""
    assert answer["query"]["reference"] == COOK
    assert (answer["query"]["w_text"], answer["query"]["steps"], answer["query"]["seed"]) == (5.0, 1, 8)
    assert [found["rank"] for found in answer["results"]] == [1, 2, 3, 4]
    scores = [found["score"] for found in answer["results"]]
    assert scores == sorted(scores, reverse=True)
    assert "twemoji-1F469-200D-1F373" not in {found["picture_id"] for found in answer["results"]}


def test_dials_say_how_much_the_text_counts(project, compodiff):
    """Without any weight on the text, a residual network with no text answers as for the reference alone."""
    asked = ("--reference", COOK, "-k", "8", "--w-image", "1")
    ids = [
        [found["picture_id"] for found in _searched(compodiff, *asked, *more)["results"]]
        for more in (("--text", "with dark skin", "--w-text", "0"), (), ("--text", "with dark skin", "--w-text", "9"))
    ]
    assert ids[0] == ids[1] != ids[2]


def test_the_shell_asks_all_that_python_can(project, compodiff, monkeypatch):
    monkeypatch.chdir(project)
    searcher = Searcher.load("artifacts")
    dials = {"w_image": 1.2, "w_text": 2.0, "num_inference_steps": 3, "draws": 2, "reference_mixing": 0.2, "seed": 5}
    flags = ("--w-image", "1.2", "--w-text", "2", "--steps", "3", "--draws", "2", "--mixing", "0.2", "--seed", "5")
    first = searcher.search(Blend((COOK, DARK_COOK), (2, 1)), "with a hat", negative="apple", k=3, **dials)
    beside = {
        "subtract": "a woman",
        "subtract_weight": 0.3,
        "exclude": (first[0].picture_id,),
        "where": "style = 'twemoji'",
    }
    asked = searcher.search(Blend((COOK, DARK_COOK), (2, 1)), "with a hat", negative="apple", k=3, **dials, **beside)
    answer = _searched(
        compodiff, "--reference", COOK, "--reference", DARK_COOK, "--weight", "2", "--weight", "1", "-k", "3", *flags,
        "--text", "with a hat", "--negative", "apple", "--subtract", "a woman", "--subtract-weight", "0.3",
        "--exclude", first[0].picture_id, "--filter", "style = 'twemoji'",
    )  # fmt: skip
    assert [found["picture_id"] for found in answer["results"]] == [hit.picture_id for hit in asked]
    assert first[0].picture_id not in {hit.picture_id for hit in asked}
    assert answer["query"]["reference"] == [COOK, DARK_COOK]
    by_text = _searched(compodiff, "--text", "a red apple", "--mode", "text", "-k", "3")
    assert [found["picture_id"] for found in by_text["results"]] == [
        hit.picture_id for hit in searcher.search(text="a red apple", mode="text", k=3)
    ]


@pytest.mark.parametrize(
    ("asked", "fault"),
    [
        (("--text", "a", "--mode", "words"), "mode is 'words'; take one of composed, image, text"),
        (("--text", "a", "--mixing", "2"), "reference_mixing is 2.0; take a number from 0 to 1"),
        (("--reference", COOK, "--weight", "1", "--weight", "2"), "1 --reference and 2 --weight"),
        (("--text", "a", "--filter", "colour = 1"), "colour"),
    ],
)
def test_what_the_shell_cannot_ask_is_one_line(project, compodiff, asked, fault):
    code, _, err = compodiff("search", "--model", "artifacts", *asked)
    assert code == 1
    assert fault in err
    assert len(err.splitlines()) == 1


def test_a_file_of_the_gallerys_own_bytes_is_that_picture(project, compodiff, small_catalogue, tmp_path):
    (tmp_path / "mine.png").write_bytes(small_catalogue.read_bytes(DARK_COOK))
    asked = ("--text", "with light skin", "--reference")
    by_file, by_id = (_searched(compodiff, *asked, given) for given in (str(tmp_path / "mine.png"), DARK_COOK))
    assert by_file["results"] == by_id["results"]
    assert DARK_COOK not in {found["picture_id"] for found in by_file["results"]}


def test_a_page_holds_the_query_and_the_ranking(project, compodiff, tmp_path):
    page = tmp_path / "answer.html"
    asked = ("--reference", COOK, "--text", "with <dark> skin", "-k", "5")
    code, out, _ = compodiff("search", "--model", "artifacts", *asked, "--html", str(page))
    assert code == 0
    assert len(out.splitlines()) == 6
    written = page.read_text(encoding="utf-8")
    assert written.count("data:image/png;base64,") == 6
    assert "with &lt;dark&gt; skin" in written
    assert "OpenMoji" in written
    assert "CC BY-SA 4.0" in written


def test_a_masked_reference_finds_other_pictures_than_the_whole_one(project, compodiff, tmp_path):
    mask = Image.new("L", (160, 160))
    mask.paste(255, (0, 0, 160, 100))
    mask.save(tmp_path / "mask.png")
    asked = ("--reference", COOK, "--text", "a red apple")
    whole, masked = _searched(compodiff, *asked), _searched(compodiff, *asked, "--mask", str(tmp_path / "mask.png"))
    assert whole["results"] != masked["results"]


def test_a_folder_of_ones_own_is_indexed_then_searched_then_kept_up_to_date(project, compodiff, album):
    built = compodiff("index", "build", str(album), "--model", "artifacts")
    assert built[0] == 0, built[2]
    assert "5 pictures" in built[1]
    assert "5 newly encoded" in built[1]

    asked = ("--index", str(album), "--text", "at night", "--reference")
    answer = _searched(compodiff, *asked, str(album / "new" / "cat.png"))
    assert {found["picture_id"] for found in answer["results"]} == {
        "beach.jpg", "new/dog.webp", "old/fire.gif", "old/snow.PNG"
    }  # fmt: skip
    assert Path(answer["results"][0]["file"]).is_file()
    assert _searched(compodiff, *asked, "new/cat.png")["results"] == answer["results"]

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
    answer = _searched(compodiff, "--index", str(tmp_path / "there"), "--text", "a cat")
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
    content["encoder"]["weights_digest"] = "f" * 64
    manifest.write_text(json.dumps(content))
    code, _, err = compodiff("search", "--model", "artifacts", "--index", str(album), "--text", "a cat")
    assert code == 4
    assert "(ffffffff), the model works on" in err
    assert "run: compodiff index build" in err
    assert "5 newly encoded" in compodiff("index", "build", str(album), "--model", "artifacts")[1]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ((), 1, "a query has neither a reference nor a text"),
        (("--reference", "nowhere.png", "--text", "red"), 1, "nowhere.png is neither a picture file nor in the index"),
        (
            ("--reference", "params.yaml", "--text", "red"),
            1,
            "params.yaml: not a JPEG, PNG, ",
        ),
        (("--reference", "x" * 300, "--text", "red"), 1, "x" * 300 + " is neither a picture file nor in the index"),
        (
            ("--reference", "twemoji-1F436x"),
            1,
            "twemoji-1F436x is neither a picture file nor in the index, which holds",
        ),
        (("--reference", COOK, "--text", "red", "--mask", "away.png"), 1, "away.png: No such file or directory"),
        (("--text", "red", "-k", "0"), 1, "k is 0"),
        (("--text", "red", "--steps", "0"), 1, "num_inference_steps is 0"),
        (("--text", "red", "--index", "src"), 1, "there is no index at src; run: compodiff index build FOLDER"),
    ],
)
def test_what_cannot_be_answered_is_one_line_with_the_way_out(project, compodiff, arguments, code, message):
    ended, out, err = compodiff("search", "--model", "artifacts", *arguments)
    assert ended == code
    assert out == ""
    assert err.startswith(f"compodiff: {message}")
    assert err.count("\n") == 1


def test_a_model_of_another_encoder_is_refused(project, compodiff, tmp_path):
    shutil.copytree(
        project / "artifacts", tmp_path / "artifacts", ignore=shutil.ignore_patterns("benchmark", "embeddings")
    )
    card = tmp_path / "artifacts" / "composed" / "config.json"
    content = json.loads(card.read_text())
    content["encoder"]["name"] = "another"
    card.write_text(json.dumps(content))
    code, _, err = compodiff("search", "--model", str(tmp_path / "artifacts"), "--text", "red")
    assert code == 4
    assert "encoder whose name is another" in err


def test_folders_without_pictures_or_model_name_the_way_out(project, compodiff, tmp_path):
    code, _, err = compodiff("index", "build", str(tmp_path), "--model", "artifacts")
    assert (
        code,
        err.splitlines()[-1].startswith("compodiff: no JPEG, PNG, "),
    ) == (1, True)
    code, _, err = compodiff("search", "--model", str(tmp_path), "--text", "red")
    assert (code, "is not there; name a folder with composed/ and encoder/" in err) == (1, True)
    code, _, err = compodiff("search", "--model", "models:/other@champion", "--text", "red")
    assert (code, "is no model of this project" in err) == (1, True)


def test_without_a_champion_make_run_is_the_way_out(project, compodiff):
    code, _, err = compodiff("search", "--text", "red")
    assert code == 1
    assert "no version of compodiff is champion; run: make run" in err.splitlines()[-1]


def test_the_params_of_the_project_are_those_the_index_is_built_with(project, compodiff, album, monkeypatch, tmp_path):
    params = yaml.safe_load(PARAMS.read_text())
    params["index"] |= {"flat_up_to": 4, "kind": "ivf_sq8", "lists": 2, "probes": 2}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
    monkeypatch.chdir(tmp_path)
    assert compodiff("index", "build", str(album), "--model", str(project / "artifacts"))[0] == 0
    assert read_manifest(album / ".compodiff").kind == "ivf_sq8"
    assert len(pd.read_parquet(album / ".compodiff" / "pictures.parquet")) == 5
