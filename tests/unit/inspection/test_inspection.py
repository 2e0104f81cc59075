import io
import json
import math
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from typer.testing import CliRunner, Result
from worlds.discs import write_discs

from compodiff.cli import app
from compodiff.errors import InputInvalid
from compodiff.inspection.card import DatasetOrigin, find_origin, write_card
from compodiff.inspection.drawing import draw, read_pictures, read_rows
from compodiff.inspection.ratings import compute_kappa, compute_wilson_interval, read_ratings, summarise_ratings
from compodiff.params import SimilarityFloors
from compodiff.sets import PAIRS, finish_set, open_shard


def listed(counts: dict[str, int]) -> pd.DataFrame:
    """Rows of a set, as many of each relation; every fifth was rejected."""
    relations = [name for name, count in counts.items() for _ in range(count)]
    numbers = np.arange(len(relations))
    keys = [f"k{number:05d}" for number in numbers]
    return pd.DataFrame({"key": keys, "relation": relations, "accepted": numbers % 5 != 0})


@given(
    st.dictionaries(st.sampled_from("abcde"), st.integers(1, 40), min_size=1), st.integers(1, 120), st.integers(0, 9)
)
@settings(max_examples=40, deadline=None)
def test_relations_take_turns_in_a_draw(counts, count, seed):
    rows = listed(counts)
    drawn = rows.iloc[draw(rows["relation"], count, seed)]
    assert len(drawn) == min(count, len(rows))
    assert drawn["key"].is_unique
    taken = drawn["relation"].value_counts().to_dict()
    most = max(taken.values())
    assert all(taken.get(name, 0) >= min(most - 1, counts[name]) for name in counts)
    assert drawn.index.tolist() == draw(rows["relation"], count, seed).tolist()


def test_the_interval_of_a_share_is_wilsons():
    assert compute_wilson_interval(8, 10) == pytest.approx((0.4902, 0.9433), abs=5e-5)  # Wilson 1927, as tables give it
    low, high = compute_wilson_interval(0, 20)
    assert low == 0
    assert high == pytest.approx(0.1611, abs=5e-5)


def test_kappa_is_cohens():
    first = ["yes"] * 25 + ["no"] * 25
    second = ["yes"] * 20 + ["no"] * 5 + ["yes"] * 10 + ["no"] * 15
    assert compute_kappa(first, second) == pytest.approx(0.4)  # the example of Cohen's paper as Wikipedia has it
    assert compute_kappa(["yes"] * 3, ["yes"] * 3) is None


def export(path, said: dict[str, str], rater: str):
    rows = [
        {"key": key, "relation": "?", "rating": rating, "rater": rater, "at": "now"} for key, rating in said.items()
    ]
    if path.suffix == ".json":
        path.write_text(json.dumps({"dataset": "d", "ratings": rows}))
    else:
        pd.DataFrame(rows).to_csv(path, index=False)
    return path


def test_ratings_are_summed_up_by_relation(tmp_path):
    rows = listed({"add": 10, "remove": 10})  # k00000, 5, 10, 15 are rejected
    good = dict.fromkeys(("k00001", "k00002", "k00003", "k00011"), "good")
    first = export(tmp_path / "ann.csv", {**good, "k00000": "wrong_caption", "k00012": "wrong_target"}, "Ann")
    second = export(tmp_path / "ben.json", {"k00001": "good", "k00002": "no_change"}, "")
    found = summarise_ratings(read_ratings([first, second]), rows)
    assert found["all"]["rated"] == 8
    add = found["relations"]["add"]
    assert (add["rated"], add["good"], add["faults"]) == (6, 4 / 6, {"wrong_caption": 1, "no_change": 1})
    assert add["good_interval"] == list(compute_wilson_interval(4, 6))
    assert add["agrees_with_filters"] == 5 / 6  # all but Ben's no_change of an accepted one
    (pair,) = found["raters"]
    assert (pair["raters"], pair["both_rated"], pair["agree"]) == (["Ann", "ben"], 2, 0.5)
    assert math.isclose(pair["kappa"], 0.0)


def test_what_is_no_rating_is_said(tmp_path):
    rows = listed({"add": 3})
    with pytest.raises(InputInvalid, match=r"'fine' is no rating; the sheet knows: good, wrong_caption"):
        read_ratings([export(tmp_path / "a.csv", {"k00001": "fine"}, "Ann")])
    with pytest.raises(InputInvalid, match=r"'k77777' is no triplet of this dataset"):
        summarise_ratings(read_ratings([export(tmp_path / "b.csv", {"k77777": "good"}, "Ann")]), rows)
    with pytest.raises(InputInvalid, match="nothing is rated"):
        summarise_ratings(read_ratings([export(tmp_path / "c.json", {}, "Ann")]), rows)
    (tmp_path / "d.json").write_text("{}")
    with pytest.raises(InputInvalid, match=r"d\.json is no export of the sheet"):
        read_ratings([tmp_path / "d.json"])


def test_rows_of_a_set_have_what_validate_said_of_them_where_it_did(tmp_path):
    dataset = write_discs(tmp_path / "artifacts", 20)
    rows = read_rows(dataset)
    assert rows["accepted"].tolist() == [number % 5 != 0 for number in range(20)]
    assert rows.loc[3, ["key", "target", "relative_caption"]].tolist() == ["train-003", "target3", "to | 3"]
    shutil.move(tmp_path / "artifacts" / "validation" / "discs", tmp_path / "elsewhere")
    plain = read_rows(dataset)
    assert plain["accepted"].all()
    assert "directional" not in plain
    pd.testing.assert_frame_equal(read_rows(dataset, tmp_path / "elsewhere"), rows)
    write_discs(tmp_path / "other", 10)
    with pytest.raises(InputInvalid, match="is of other rows than"):
        read_rows(dataset, tmp_path / "other" / "validation" / "discs")


def test_drawn_rows_come_with_their_pictures_rejected_or_not(tmp_path):
    dataset = write_discs(tmp_path / "artifacts", 20)
    shown = read_pictures(dataset, read_rows(dataset).iloc[[1, 13, 5]])
    assert [it.row["key"] for it in shown] == ["train-001", "train-013", "train-005"]
    assert [it.target.getpixel((0, 0)) for it in shown] == [
        (303 % 256, 90, 160),
        (339 % 256, 90, 160),
        (315 % 256, 90, 160),
    ]
    assert [it.mask is not None and it.mask.getbbox() for it in shown] == [(0, 0, 64, 64), (0, 0, 64, 64), False]
    (dataset / "train-00001.tar").unlink()
    (gone,) = read_pictures(dataset, read_rows(dataset).iloc[[13]])
    assert gone.reference is None


def test_pairs_are_shown_by_their_picture_and_texts(tmp_path):
    with open_shard(tmp_path / "pairs", "train", 0, PAIRS) as shard:
        stream = io.BytesIO()
        Image.new("RGB", (8, 8), "red").save(stream, "PNG")
        place = shard.store_picture("one", stream.getvalue())
        shard.add({"key": "a", "picture": place, "texts": ["a disc", "red"]})
    finish_set(tmp_path / "pairs", PAIRS, licence="CC0", source="a test")
    rows = read_rows(tmp_path / "pairs")
    (shown,) = read_pictures(tmp_path / "pairs", rows)
    assert (shown.row["relative_caption"], shown.reference) == ("a disc / red", None)
    assert shown.target.size == (8, 8)
    write_card(tmp_path / "pairs", tmp_path / "card", DatasetOrigin("pairs", "CC0"))
    assert "Not validated yet" in (tmp_path / "card" / "README.md").read_text()


def test_the_card_says_what_is_in_the_set(tmp_path):
    said = "Drawn by X, [CC BY 4.0](https://creativecommons.org/licenses/by/4.0/)."
    folder = write_discs(tmp_path / "artifacts", 50, ("add", "turn_left"), licence=said)
    (tmp_path / "params.yaml").write_text(with_floors())
    origin = find_origin(folder, None, None, ())
    for name in ("first", "second"):
        write_card(folder, tmp_path / name, origin)
    text = (tmp_path / "first" / "README.md").read_text()
    front = yaml.safe_load(text.split("---\n")[1])
    assert front["license"] == ["cc-by-4.0"]
    assert front["size_categories"] == ["n<1K"]
    assert "40 of 50 rows passed" in text
    assert "| train | turn left | 25 | 20 | 80.0 % |" in text
    assert "| directional | 0.20 | 80.0 % |" in text
    assert "to \\| 1" in text
    assert "- 3 unsafe" in text
    assert said in text
    plots = sorted((tmp_path / "first" / "plots").iterdir())
    assert [path.stem for path in plots] == ["acceptance", "examples", "lengths", "relations", "scores"]
    assert all((tmp_path / "second" / "plots" / path.name).read_bytes() == path.read_bytes() for path in plots)
    assert all(f"plots/{path.name}" in text for path in plots)
    with pytest.raises(InputInvalid, match="holds what is read"):
        write_card(folder, folder, DatasetOrigin("discs", ""))
    write_card(folder, tmp_path / "first", DatasetOrigin("discs", ""))  # over a card of ours
    for name in ("README.md", "main.py"):
        theirs = tmp_path / f"project with {name}"
        theirs.mkdir()
        (theirs / "README.md").write_text("# Mine" if name == "README.md" else text)
        (theirs / name).touch()
        with pytest.raises(InputInvalid, match="which compodiff did not write; name another folder"):
            write_card(folder, theirs, DatasetOrigin("discs", ""))
        assert (theirs / name).exists()


def with_floors() -> str:
    """The project's params.yaml, with a set `discs` that has floors."""
    params = yaml.safe_load((Path(__file__).parents[3] / "params.yaml").read_text())
    floors = dict.fromkeys(SimilarityFloors.model_fields, 0.2)
    params["sets"]["discs"] = {"recipe": "own", "reads": "discs/set.json", "min_rows": 1, "floors": floors}
    return yaml.safe_dump(params)


def test_the_commands_find_what_validate_said(tmp_path):
    dataset = write_discs(tmp_path / "artifacts", 20)
    (tmp_path / "params.yaml").write_text(with_floors())

    def run(*arguments: str) -> Result:
        return CliRunner().invoke(app, list(arguments), catch_exceptions=False)

    sheet = tmp_path / "sheet.html"
    done = run("inspect", str(dataset), "--html", str(sheet), "-n", "12")
    assert "12 of 20 rows in" in done.output.replace("\n", " ")
    assert '"floors": {"image_image": 0.2' in sheet.read_text()
    rated = export(tmp_path / "ann.csv", {"train-001": "good", "train-005": "unsafe"}, "Ann")
    done = run("inspect", str(dataset), "--ratings", str(rated), "--json")
    assert json.loads(done.stdout)["all"]["agrees_with_filters"] == 1
    assert run("dataset", "plots", str(dataset), "--to", str(tmp_path / "plots")).exit_code == 0
    assert sorted(path.stem for path in (tmp_path / "plots").glob("*.png")) == sorted(SimilarityFloors.model_fields)
    shutil.rmtree(tmp_path / "artifacts" / "validation")
    with pytest.raises(InputInvalid, match="was not validated; run: dvc repro validate@discs"):
        run("dataset", "plots", str(dataset), "--to", str(tmp_path / "plots"))
