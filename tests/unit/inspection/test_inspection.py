import json
import math

import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from compodiff.errors import InputInvalid
from compodiff.inspection.card import DatasetOrigin, write_card
from compodiff.inspection.drawing import draw
from compodiff.inspection.ratings import compute_kappa, compute_wilson_interval, read_ratings, summarise_ratings
from compodiff.params import SimilarityFloors


def manifest(counts: dict[str, int]) -> pd.DataFrame:
    relations = [name for name, count in counts.items() for _ in range(count)]
    numbers = np.arange(len(relations))
    scores = np.linspace(-0.1, 0.9, len(relations), dtype=np.float32)
    return pd.DataFrame(
        {
            "key": [f"k{number:05d}" for number in numbers],
            "shard": "train-00000.tar",
            "reference": [f"r{number}" for number in numbers],
            "target": [f"t{number}" for number in numbers],
            "reference_caption": "a red disc",
            "target_caption": "a blue disc",
            "relative_caption": [f"make it blue | {number}" for number in numbers],
            "relation": relations,
            "split": "train",
            **dict.fromkeys(SimilarityFloors.model_fields, scores),
            "accepted": numbers % 5 != 0,
            "rejected_by": ["" if number % 5 else "directional" for number in numbers],
        }
    )


@given(
    st.dictionaries(st.sampled_from("abcde"), st.integers(1, 40), min_size=1), st.integers(1, 120), st.integers(0, 9)
)
@settings(max_examples=40, deadline=None)
def test_relations_take_turns_in_a_draw(counts, count, seed):
    rows = manifest(counts)
    drawn = draw(rows, count, seed)
    assert len(drawn) == min(count, len(rows))
    assert drawn["key"].is_unique
    taken = drawn["relation"].value_counts().to_dict()
    most = max(taken.values())
    assert all(taken.get(name, 0) >= min(most - 1, counts[name]) for name in counts)
    pd.testing.assert_frame_equal(drawn, draw(rows, count, seed))


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
    rows = manifest({"add": 10, "remove": 10})  # k00000, 5, 10, 15 are rejected
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
    rows = manifest({"add": 3})
    with pytest.raises(InputInvalid, match=r"'fine' is no rating; the sheet knows: good, wrong_caption"):
        read_ratings([export(tmp_path / "a.csv", {"k00001": "fine"}, "Ann")])
    with pytest.raises(InputInvalid, match=r"'k77777' is no triplet of this dataset"):
        summarise_ratings(read_ratings([export(tmp_path / "b.csv", {"k77777": "good"}, "Ann")]), rows)
    with pytest.raises(InputInvalid, match="nothing is rated"):
        summarise_ratings(read_ratings([export(tmp_path / "c.json", {}, "Ann")]), rows)
    (tmp_path / "d.json").write_text("{}")
    with pytest.raises(InputInvalid, match=r"d\.json is no export of the sheet"):
        read_ratings([tmp_path / "d.json"])


def test_the_card_says_what_is_in_the_dataset(tmp_path):
    folder = tmp_path / "triplets"
    folder.mkdir()
    manifest({"add": 40, "turn_left": 10}).to_parquet(folder / "manifest.parquet")
    (folder / "source.json").write_text(json.dumps({"format": "lasco", "parts": 3}))
    said = "Drawn by X, [CC BY 4.0](https://creativecommons.org/licenses/by/4.0/)."
    for name in ("first", "second"):
        write_card(folder, tmp_path / name, DatasetOrigin("discs", said, floors={"directional": 0.2}))
    text = (tmp_path / "first" / "README.md").read_text()
    front = yaml.safe_load(text.split("---\n")[1])
    assert front["license"] == ["cc-by-4.0"]
    assert front["size_categories"] == ["n<1K"]
    assert "40 of 50 candidates passed" in text
    assert "| train | turn left | 10 | 8 | 80.0 % |" in text
    assert "| directional | 0.20 | 80.0 % |" in text
    assert "make it blue \\| 1" in text
    assert '"format": "lasco"' in text
    assert said in text
    plots = sorted((tmp_path / "first" / "plots").iterdir())
    assert [path.stem for path in plots] == ["acceptance", "lengths", "relations", "scores"]
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
