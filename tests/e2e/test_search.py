"""`compodiff search` in a project whose parts are real and small."""

import json
import shutil
import subprocess
import sys
import tempfile
import webbrowser
from collections import Counter
from pathlib import Path

import pytest
from factories import draw_box_mask
from worlds.search import search_by_shell

from compodiff import Blend, Searcher
from compodiff.search.words import split_words

COOK, DARK_COOK = "👩‍🍳", "twemoji-1F469-1F3FF-200D-1F373"


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
        [found["picture_id"] for found in search_by_shell(compodiff, *asked, *more)["results"]]
        for more in (("--text", "with dark skin", "--w-text", "0"), (), ("--text", "with dark skin", "--w-text", "9"))
    ]
    assert ids[0] == ids[1] != ids[2]


def test_a_word_that_is_written_of_pictures_finds_one_of_them_first(project, monkeypatch):
    """Under a model of random weights, which knows no word; what stands in most names tells nothing apart."""
    monkeypatch.chdir(project)
    searcher = Searcher.load("artifacts")
    names = [split_words(name) for name in searcher.index.pictures["name"]]
    held = Counter(word for name in names for word in set(name) if len(word) > 3)
    words = [word for word, times in held.items() if times < len(names) / 4]
    assert len(words) > 40
    first = {word: searcher.search(text=word, k=1)[0] for word in words}
    assert [word for word, hit in first.items() if set(hit.found_by) == {"picture"}] == []


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
    answer = search_by_shell(
        compodiff, "--reference", COOK, "--reference", DARK_COOK, "--weight", "2", "--weight", "1", "-k", "3", *flags,
        "--text", "with a hat", "--negative", "apple", "--subtract", "a woman", "--subtract-weight", "0.3",
        "--exclude", first[0].picture_id, "--filter", "style = 'twemoji'",
    )  # fmt: skip
    assert [found["picture_id"] for found in answer["results"]] == [hit.picture_id for hit in asked]
    assert first[0].picture_id not in {hit.picture_id for hit in asked}
    assert answer["query"]["reference"] == [COOK, DARK_COOK]
    by_text = search_by_shell(compodiff, "--text", "a red apple", "--mode", "text", "-k", "3")
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
    by_file, by_id = (search_by_shell(compodiff, *asked, given) for given in (str(tmp_path / "mine.png"), DARK_COOK))
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


def test_an_answer_is_opened_and_shown_in_the_terminal_and_its_files_go_to_other_programs(
    project, compodiff, tmp_path, monkeypatch
):
    opened: list[str] = []
    monkeypatch.setattr(webbrowser, "open", lambda address: opened.append(address) or True)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    asked = ("search", "--model", "artifacts", "--reference", COOK, "--text", "with dark skin", "-k", "3")
    code, out, _ = compodiff(*asked, "--open", "--pictures", "kitty")
    assert code == 0
    assert "with dark skin" in Path(opened[0].removeprefix("file://")).read_text()
    assert out.splitlines()[-1].startswith("\x1b_G")
    code, out, err = compodiff(*asked, "--print0")
    assert (code, out) == (1, "")
    assert "lies inside" in err
    assert "--print0 needs the index of a folder of files" in err


def test_a_masked_reference_finds_other_pictures_than_the_whole_one(project, compodiff, tmp_path):
    draw_box_mask((160, 160), (0, 0, 160, 100)).save(tmp_path / "mask.png")
    asked = ("--reference", COOK, "--text", "a red apple")
    whole, masked = (
        search_by_shell(compodiff, *asked),
        search_by_shell(compodiff, *asked, "--mask", str(tmp_path / "mask.png")),
    )
    assert whole["results"] != masked["results"]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ((), 1, "a query has neither a reference nor a text"),
        (("--text", " "), 1, "a query has neither a reference nor a text"),
        (("--reference", COOK, "--weight", "nan"), 1, "the weights of the references are (nan,)"),
        (("--text", "red", "--json", "--print0"), 1, "--json and --print0 are two forms of one answer; give one"),
        (("--reference", "nowhere.png", "--text", "red"), 1, "nowhere.png is neither a picture file nor in the index"),
        (("--reference", "params.yaml", "--text", "red"), 1, "params.yaml: not a JPEG, PNG, "),
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
        project / "artifacts", tmp_path / "artifacts", ignore=shutil.ignore_patterns("benchmarks", "embeddings", "sets")
    )
    card = tmp_path / "artifacts" / "composed" / "config.json"
    content = json.loads(card.read_text())
    content["encoder"]["picture"]["name"] = "another"
    card.write_text(json.dumps(content))
    code, _, err = compodiff("search", "--model", str(tmp_path / "artifacts"), "--text", "red")
    assert code == 4
    assert "encoder whose picture part's name is another" in err


def test_folders_without_pictures_or_model_name_the_way_out(project, compodiff, tmp_path):
    code, _, err = compodiff("index", "build", str(tmp_path), "--model", "artifacts")
    assert (code, err.splitlines()[-1].startswith("compodiff: no JPEG, PNG, ")) == (1, True)
    code, _, err = compodiff("search", "--model", str(tmp_path), "--text", "red")
    assert (code, "is not there; name a folder with composed/ and encoder/" in err) == (1, True)
    code, _, err = compodiff("search", "--model", "models:/other@champion", "--text", "red")
    assert (code, "is no model of this project" in err) == (1, True)


def test_without_a_champion_make_run_is_the_way_out(project, compodiff):
    code, _, err = compodiff("search", "--text", "red")
    assert code == 1
    assert "no version of compodiff is champion; run: make run" in err.splitlines()[-1]
