"""What a query says before any model or index is asked."""

import inspect
from dataclasses import FrozenInstanceError

import numpy as np
import pytest
from PIL import Image

from compodiff.dials import DIALS
from compodiff.errors import InputInvalid
from compodiff.search.query import Blend, Query, find_mode, join_parts, list_parts

PICTURE = Image.new("RGB", (4, 4))


@pytest.mark.parametrize(
    ("parts", "weights", "fault"),
    [
        (("a", "b"), (1.0,), "2 references and 1 weights; give one weight each"),
        (("a",), (1.0, 1.0), "1 references and 2 weights; give one weight each"),
        ((), (), "0 references and 0 weights; give one weight each"),
        (
            ("a", "b"),
            (0.0, 0.0),
            r"the weights of the references are \(0.0, 0.0\); none below 0, and not all of them 0",
        ),
        (("a", "b"), (2.0, -1.0), r"the weights of the references are \(2.0, -1.0\)"),
        (("a", "b"), (1.0, float("inf")), r"the weights of the references are \(1.0, inf\)"),
        (("a", "b"), (float("nan"), 1.0), r"the weights of the references are \(nan, 1.0\)"),
    ],
)
def test_each_reference_of_several_has_a_weight_and_one_counts(
    parts: tuple[str, ...], weights: tuple[float, ...], fault: str
) -> None:
    with pytest.raises(InputInvalid, match=fault):
        Blend(parts, weights)


@pytest.mark.parametrize("weights", [(0.0,), (-1.0,), (float("nan"),), (1.0, 1.0)])
def test_a_weight_that_is_none_is_refused_of_one_reference_too(weights: tuple[float, ...]) -> None:
    with pytest.raises(InputInvalid, match="weights"):
        join_parts(["a"], weights)


def test_one_part_is_the_reference_itself_and_several_are_a_blend() -> None:
    assert join_parts([]) is None
    assert join_parts(["a"]) == join_parts(["a"], [2.0]) == "a"
    assert join_parts(["a", "b"]) == Blend(("a", "b"), (1.0, 1.0))
    assert join_parts(["a", "b"], [1.0, 0.0]) == Blend(("a", "b"), (1.0, 0.0))


def test_the_parts_of_a_reference_come_in_their_order() -> None:
    assert list_parts(None) == ()
    assert list_parts("a") == ("a",)
    assert list_parts(Blend(("b", PICTURE), (0.0, 0.5))) == ("b", PICTURE)


@pytest.mark.parametrize(
    "query",
    [
        Query(relative_caption="red"),
        Query(negative_text="red"),  # said against the empty text
        Query(PICTURE),
        Query(np.zeros(4, np.float32), mode="image"),
        Query(None, "red", mode="text"),
        Query(PICTURE, "red", mode="text"),
        Query("a", k=1, draws=1, num_inference_steps=1, seed=0, w_image=0, w_text=0, reference_mixing=0),
        Query("a", seed=2**63 - 1, reference_mixing=1, subtract_weight=1, w_image=1e6, w_text=1e6),
    ],
    ids=lambda query: f"{query.mode}-{query.relative_caption}-{query.negative_text}",
)
def test_a_query_that_says_what_its_mode_needs_is_taken(query: Query) -> None:
    query.require()


@pytest.mark.parametrize(
    ("query", "fault"),
    [
        (Query(), "a query has neither a reference nor a text; give at least one"),
        (Query(subtract="red", where="width > 3"), "a query has neither a reference nor a text"),
        (Query(relative_caption=" \n"), "a query has neither a reference nor a text"),
        (Query(relative_caption="\u200b", negative_text="\t"), "a query has neither a reference nor a text"),
        (Query("a", " ", mode="text"), "the mode text uses the relative caption alone; give a text"),
        (Query(None, "red", mode="image"), "the mode image uses the reference alone; give a reference"),
        (Query("a", mode="text"), "the mode text uses the relative caption alone; give a text"),
        (Query("a", negative_text="red", mode="text"), "the mode text uses the relative caption alone; give a text"),
    ],
)
def test_a_query_that_lacks_what_its_mode_goes_by_is_refused(query: Query, fault: str) -> None:
    with pytest.raises(InputInvalid, match=fault):
        query.require()


@pytest.mark.parametrize("name", DIALS)
def test_each_number_of_a_query_is_held_to_its_range(name: str) -> None:
    dial = DIALS[name]
    for value in (dial.least - 1, *([dial.most * 2] if np.isfinite(dial.most) else [])):
        with pytest.raises(InputInvalid, match=f"{name} is "):
            Query("a", **{name: value}).require()


@pytest.mark.parametrize(
    ("query", "has_text"),
    [
        (Query("a"), False),
        (Query("a", " "), False),
        (Query("a", "b"), True),
        (Query("a", negative_text="b"), True),
        (Query("a", subtract="b"), False),
    ],
)
def test_a_text_and_a_negative_text_are_said_a_subtracted_one_is_not(query: Query, has_text: bool) -> None:
    assert query.has_text is has_text


def test_what_a_query_leaves_out_is_the_models_but_for_the_dials_of_the_search() -> None:
    asked = Query("a")
    assert {name: getattr(asked, name) for name in DIALS} == {name: dial.default for name, dial in DIALS.items()}
    assert (asked.relative_caption, asked.negative_text, asked.subtract, asked.where) == ("", "", "", "")
    assert (asked.mask, asked.exclude, asked.more, asked.less, asked.mode) == (None, (), (), (), "composed")
    by_name = {each.name for each in inspect.signature(Query).parameters.values() if each.kind is each.KEYWORD_ONLY}
    assert by_name == {"w_names", "subtract", "subtract_weight", "exclude", "more", "less", "where"}
    with pytest.raises(FrozenInstanceError):
        asked.k = 3  # type: ignore[misc]


def test_a_mode_is_known_by_its_name() -> None:
    assert [find_mode(name) for name in ("composed", "image", "text")] == ["composed", "image", "text"]
    with pytest.raises(InputInvalid, match="mode is 'picture'; take one of composed, image, text"):
        find_mode("picture")
