"""What the page asks besides search: openings, changes, facets, the steps of an answer, feedback."""

import asyncio
import dataclasses

import numpy as np
import pandas as pd
import pytest

from compodiff.index.filters import Filters
from compodiff.search.query import Query
from compodiff.search.ranking import Ranking
from compodiff.serving.champion import ServedModel
from compodiff.serving.facets import list_facets
from compodiff.serving.openings import ANYWHERE, Openings, choose_different, list_changes, read_queries

RED = "twemoji-1F534"


def test_examples_are_queries_that_the_model_gets_right_no_concept_twice(champion):
    targets = {(query.reference, query.relative_caption): query for query in read_queries(champion.live)}
    asked: list[Query] = []

    async def ask(live: ServedModel, query: Query) -> Ranking:
        """Answer every second query rightly, the others with their reference."""
        asked.append(query)
        answer = live.searcher.answer(query)
        right = targets[str(query.reference), query.relative_caption].targets[0]
        found = right if len(asked) % 2 else str(query.reference)
        return dataclasses.replace(answer, hits=(dataclasses.replace(answer.hits[0], picture_id=found),))

    openings = Openings(ask)
    examples, rows = asyncio.run(openings.find(champion.live))
    index = champion.live.searcher.index
    assert 2 <= len(examples) <= 8
    assert len(examples) == -(-len(asked) // 2)
    for example in examples:
        query = targets[index.picture_ids[example.reference], example.text]
        assert index.picture_ids[example.answer] in query.targets
    concepts = [targets[index.picture_ids[each.reference], each.text].concept for each in examples]
    assert len(set(concepts)) == len(concepts)
    assert len(set(rows)) == len(rows) > 10
    before = len(asked)
    asyncio.run(openings.find(champion.live))
    assert len(asked) == before, "they were made anew for the same model"


def test_the_openings_of_a_server_can_be_shown(client):
    openings = client.get("/openings").json()
    assert openings["changes"] == list(ANYWHERE)
    for picture in openings["pictures"][:3]:
        assert client.get(picture["thumbnail"]).status_code == 200


def test_pictures_to_begin_with_come_from_every_cluster():
    generator = np.random.default_rng(1)
    centres = np.eye(5, 16, dtype=np.float32)
    embeddings = (np.repeat(centres, 40, axis=0) + generator.normal(0, 0.05, (200, 16))).astype(np.float32)
    assert {row // 40 for row in choose_different(embeddings, 30)} == set(range(5))
    assert choose_different(embeddings[:7], 30) == list(range(7))
    assert len(choose_different(np.zeros((100, 16), np.float32), 30)) >= 1


def test_changes_fit_the_picture(client, champion):
    captions = {query.relative_caption for query in read_queries(champion.live)}
    judge = next(query.reference for query in read_queries(champion.live) if "skin_tone" in query.groups)
    changes = client.get("/changes", params={"picture_id": judge}).json()["changes"]
    assert changes
    assert set(changes) <= captions
    assert list_changes(champion.live, "not of this index") == list(ANYWHERE)


def test_columns_become_facets():
    table = pd.DataFrame({
        "picture_id": ["a", "b", "c"],
        "sha256": ["1", "2", "3"],
        "folder": ["summer", "winter", "summer"],
        "only": ["one", "one", "one"],
        "own": ["x", "y", "z"],
        "stars": [1.0, None, 5.0],
        "taken": pd.to_datetime(["2026-11-27", "2025-01-01", None]),
        "kept": [True, False, True],
        "tags": [["red"], ["blue", "old"], ["red"]],
    })  # fmt: skip
    facets = {facet.name: facet for facet in list_facets(table)}
    assert list(facets) == ["folder", "stars", "taken", "month_taken", "kept"]
    assert [(each.value, each.count) for each in facets["folder"].values] == [("summer", 2), ("winter", 1)]
    assert (facets["stars"].kind, facets["stars"].least, facets["stars"].most) == ("number", 1, 5)
    assert (facets["taken"].least, facets["taken"].most) == ("2025-01-01", "2026-11-27")
    assert [each.value for each in facets["kept"].values] == ["False", "True"]


def test_folders_are_counted_with_what_lies_below_and_dates_by_month():
    table = pd.DataFrame({
        "folder": ["", "2025/sea", "2025/sea", "2025/o'hara", "2025", "2026/x_y", "2026/x_y", "20255"],
        "taken": pd.to_datetime(["2025-07-31", *["2025-08-01"] * 3, *["2026-01-05"] * 4]),
    })  # fmt: skip
    facets = {facet.name: facet for facet in list_facets(table)}
    folders = {each.value: each for each in facets["folder"].values}
    assert {name: each.count for name, each in folders.items()} == {
        "": 1, "2025": 4, "2025/o'hara": 1, "2025/sea": 2, "2026": 2, "2026/x_y": 2, "20255": 1
    }  # fmt: skip
    assert [each.value for each in facets["month_taken"].values] == ["2025-07", "2025-08", "2026-01"]
    filters = Filters(table)
    for each in [*folders.values(), *facets["month_taken"].values]:
        assert len(filters.find_rows(each.condition)) == each.count


def test_imagining_goes_from_noise_to_the_answer(client):
    query = {"reference_id": RED, "text": "make it blue", "steps": 5}
    steps = client.post("/imagine", data=query).json()["steps"]
    assert [each["step"] for each in steps] == list(range(6))
    answer = client.post("/search", data={**query, "k": 1}).json()["results"][0]
    assert steps[-1]["picture"]["picture_id"] == answer["picture_id"]
    assert steps[-1]["score"] == pytest.approx(answer["score"], abs=1e-6)
    assert steps[0]["score"] < steps[-1]["score"]
    assert client.post("/imagine", data={}).status_code == 422


def test_imagining_ends_in_what_a_search_finds(client):
    """Names count, and the reference is not found, whether it is an id or a copy of a picture of the index."""
    assert client.post("/imagine", data={"text": "make it blue", "mode": "text"}).json()["steps"][0]["step"] == 0
    picture = client.get(f"/pictures/{RED}").content
    query = {"data": {"text": "", "k": 1}, "files": {"reference": picture}}
    found = client.post("/search", **query).json()["results"][0]
    frames = client.post("/imagine", **query).json()["steps"]
    assert frames[-1]["picture"]["picture_id"] == found["picture_id"] != RED
    name = found["name"]
    (found,) = client.post("/search", data={"text": name, "k": 1}).json()["results"]
    assert (
        client.post("/imagine", data={"text": name}).json()["steps"][-1]["picture"]["picture_id"] == found["picture_id"]
    )


def test_more_and_less_like_a_picture_move_the_answer(client):
    query = {"reference_id": RED, "text": "make it blue", "k": 20}
    plain = [each["picture_id"] for each in client.post("/search", data=query).json()["results"]]
    liked, disliked = plain[9], plain[0]
    answer = client.post("/search", data={**query, "more": liked, "less": disliked, "embedding": True}).json()
    shown = [each["picture_id"] for each in answer["results"]]
    assert shown.index(liked) < 9
    assert disliked not in shown
    assert (answer["query"]["more"], answer["query"]["less"]) == ([liked], [disliked])
    # RED is a reference no more, and would be found.
    moved = {"reference_embedding": answer["embedding"], "mode": "image", "exclude": [disliked, RED]}
    assert client.post("/search", data=moved).json()["results"][0]["picture_id"] == shown[0], (
        "what was looked for is not where it was moved to"
    )
    many = client.post("/search", data={**query, "more": plain})
    assert many.status_code == 200, "a person may like more pictures than a query has references"
    unknown = client.post("/search", data={**query, "more": "nobody"})
    assert (unknown.status_code, "holds no picture 'nobody'" in unknown.json()["error"]) == (422, True)
