import base64
import io
import json
import re

import numpy as np
import pytest
from factories import draw_box_mask, encode_picture
from PIL import Image

from compodiff.errors import ResourceUnavailable
from compodiff.search.query import Query

RED, BLUE = "twemoji-1F534", "twemoji-1F535"


def png(size=(40, 30), colour="red", mode="RGB") -> bytes:
    return encode_picture(Image.new(mode, size, colour))


def half_mask(size=(64, 64)) -> bytes:
    return encode_picture(draw_box_mask(size, (0, 0, size[0] // 2, size[1])))


def long_embedding() -> str:
    return base64.urlsafe_b64encode(np.full(32, 1e30, "<f4").tobytes()).decode()


def ids(answer) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [found["picture_id"] for found in answer.json()["results"]]


def again(client, answer):
    """Send an answer's own query."""
    query = {name: value for name, value in answer.json()["query"].items() if value not in (None, "", [])}
    return client.post("/search", data=query)


def same_ranking(first, second) -> bool:
    one, other = (answer.json()["results"] for answer in (first, second))
    if [found["picture_id"] for found in one] != [found["picture_id"] for found in other]:
        return False
    return np.allclose([found["score"] for found in one], [found["score"] for found in other], atol=1e-5)


def test_a_search_finds_what_the_searcher_finds(client, champion):
    answer = client.post("/search", data={"reference_id": RED, "text": "make it blue", "k": 5, "steps": 3, "seed": 4})
    query = Query(RED, "make it blue", k=5, num_inference_steps=3, seed=4)
    hits = champion.live.searcher.answer(query)
    assert ids(answer) == [hit.picture_id for hit in hits]
    np.testing.assert_allclose(
        [found["score"] for found in answer.json()["results"]], [hit.score for hit in hits], atol=1e-5
    )
    assert [found["rank"] for found in answer.json()["results"]] == [1, 2, 3, 4, 5]
    assert RED not in ids(answer)
    assert set(answer.json()["seconds"]) == {"wait", "prepare", "encode", "sample", "search"}


def test_an_answer_names_every_dial_it_had(client, champion):
    sampling = champion.live.searcher.composer.sampling
    query = client.post("/search", data={"text": "red", "w_text": 2.5}).json()["query"]
    assert query["w_text"] == 2.5
    assert query["w_image"] == sampling.w_image
    assert query["steps"] == sampling.num_inference_steps
    assert query["seed"] == sampling.seed
    assert query["k"] == 10


@pytest.mark.parametrize(
    ("fields", "files"),
    [
        ({"reference_id": RED, "text": "make it blue", "negative": "square", "w_image": 2, "seed": 9}, []),
        ({"text": "at night"}, [("reference", png())]),
        ({"text": "at night"}, [("reference", png((64, 64))), ("mask", half_mask())]),
        ({"text": "at night", "reference_id": RED}, [("mask", half_mask((160, 160)))]),
        ({"text": "both", "reference_id": [RED, BLUE], "weight": [1, 3], "filter": "name like '%circle%'"}, []),
        ({"text": "mixed", "reference_id": RED}, [("reference", png(colour="green"))]),
        ({"reference_id": RED, "text": "a heart", "subtract": "red", "subtract_weight": 0.3, "draws": 2}, []),
        ({"reference_id": RED, "mode": "image", "k": 3}, []),
        ({"text": "a red circle", "mode": "text"}, []),
    ],
)
def test_the_query_of_an_answer_sent_again_has_the_same_answer(client, fields, files):
    first = client.post("/search", data={**fields, "embedding": True}, files=files)
    assert len(ids(first)) > 0
    assert same_ranking(first, again(client, first))


def test_an_uploaded_mask_comes_back_as_its_64_x_64_cells(client):
    mask = half_mask((320, 240))
    answer = client.post("/search", data={"text": "a hat"}, files=[("reference", png()), ("mask", mask)])
    bits = base64.urlsafe_b64decode(answer.json()["query"]["mask_cells"])
    cells = np.unpackbits(np.frombuffer(bits, np.uint8)).reshape(64, 64)
    assert cells[8:56, :32].all()
    assert not cells[:, 32:].any()
    assert not cells[:8].any(), "the border that makes the picture a square is no part of it"
    assert not cells[56:].any()


def test_the_embedding_of_an_answer_is_a_reference(client, champion):
    first = client.post("/search", data={"reference_id": RED, "text": "make it blue", "embedding": True})
    second = client.post("/search", data={"reference_embedding": first.json()["embedding"], "mode": "image", "k": 9})
    assert ids(first)[:8] == [each for each in ids(second) if each != RED][:8]


def test_several_references_are_their_weighted_mean(client, champion):
    index = champion.live.searcher.index
    mean = (index.read_embedding(RED) + 3 * index.read_embedding(BLUE)) / 4
    given = base64.urlsafe_b64encode(mean.astype("<f4").tobytes()).decode()
    by_mean = client.post("/search", data={"reference_embedding": given, "exclude": [RED, BLUE], "mode": "image"})
    blended = client.post("/search", data={"reference_id": [RED, BLUE], "weight": [1, 3], "mode": "image"})
    assert ids(by_mean) == ids(blended)


def test_a_subtracted_text_moves_the_answer_away_from_it(client):
    plain, less = (
        client.post("/search", data={"text": "a red heart", "mode": "text", "k": 5, **more})
        for more in ({}, {"subtract": "a red heart", "subtract_weight": 1.0})
    )
    assert ids(plain) != ids(less)


def test_a_filter_leaves_only_what_it_lets_through(client, champion):
    answer = client.post("/search", data={"text": "a face", "filter": "picture_id like 'openmoji%'", "k": 1000})
    assert ids(answer)
    assert all(each.startswith("openmoji") for each in ids(answer))
    table = champion.live.searcher.index.pictures
    assert len(ids(answer)) == table["picture_id"].str.startswith("openmoji").sum()
    assert ids(client.post("/search", data={"text": "a face", "filter": "picture_id = 'nothing'"})) == []


def test_progress_is_streamed_and_the_answer_is_the_same(client):
    fields = {"reference_id": RED, "text": "make it blue", "steps": 4}
    streamed = client.post("/search", data=fields, headers={"Accept": "application/x-ndjson"})
    events = [json.loads(line) for line in streamed.text.splitlines()]
    steps = [event["done"] for event in events if event["event"] == "sample"]
    assert events[0] == {"event": "wait", "done": 0, "of": 4}
    assert steps == [0, 1, 2, 3, 4]
    assert events[-1]["event"] == "answer"
    whole = client.post("/search", data=fields).json()
    assert [found["picture_id"] for found in events[-1]["results"]] == [
        found["picture_id"] for found in whole["results"]
    ]


def test_a_fault_of_the_server_is_the_last_line_of_a_stream(client, champion, monkeypatch):
    def refusing(*_):
        raise ResourceUnavailable("the disk is gone")

    def count_failed_streams():
        metrics = client.get("/metrics").text.splitlines()
        return next(float(line.split()[1]) for line in metrics if line.startswith("compodiff_failed_streams_total "))

    before = count_failed_streams()
    monkeypatch.setattr(champion.live.searcher, "answer_all", refusing)
    streamed = client.post("/search", data={"text": "a"}, headers={"Accept": "application/x-ndjson"})
    assert streamed.status_code == 200
    assert json.loads(streamed.text.splitlines()[-1]) == {"event": "error", "error": "the disk is gone"}
    assert count_failed_streams() == before + 1
    assert client.post("/search", data={"text": "a"}).status_code == 503


@pytest.mark.parametrize(
    ("fields", "files", "status", "message"),
    [
        ({}, [], 422, "a query has neither a reference nor a text"),
        ({"text": "a"}, [("reference", b"this is no picture")], 422, "the reference: not a JPEG, PNG, WebP, GIF, TIFF"),
        ({"text": "a"}, [("reference", b"")], 422, "the reference is an empty file"),
        ({"text": "a"}, [("reference", png()[:60])], 422, "the reference: does not decode|not a JPEG"),
        ({"text": "a"}, [("reference", png((2000, 2000)))], 422, "has 2,000 x 2,000 pixels; 2,000,000 may be used"),
        ({"text": "a"}, [("reference", png((20_000, 20_000), 0, "1"))], 422, "pixels"),
        ({"text": "a"}, [("reference", bytes(300_000))], 413, "a request may have 200,000 bytes"),
        ({"text": "a"}, [("reference", png()), ("mask", half_mask((30, 40)))], 422, "the mask is 30 x 40, the refer"),
        ({"text": "a"}, [("reference", png()), ("mask", b"")], 422, "the mask is an empty file"),
        ({"text": "a"}, [("mask", half_mask())], 422, "a mask needs the reference"),
        ({"text": "a"}, [("reference", png()), ("mask", png((40, 30), 0, "L"))], 422, "the mask marks nothing"),
        ({"text": "a", "reference_id": RED, "mask_cells": "AAAA"}, [], 422, "mask_cells has 3 bytes; 64 x 64 bits"),
        ({"text": "a", "reference_id": RED, "mask_cells": "???"}, [], 422, "mask_cells is no base64"),
        ({"text": "a", "filter": "size >"}, [], 422, "does not parse"),
        ({"text": "a", "filter": "height > 3"}, [], 422, 'column "height" not found.*columns are picture_id'),
        ({"text": "a", "filter": "1 = 1"}, [], 422, "names no column"),
        ({"text": "a", "k": 0}, [], 422, "k: Input should be greater than or equal to 1"),
        ({"text": "a", "k": 1_000_000}, [], 422, "k: Input should be less than or equal to 1000 .got 1000000"),
        ({"text": "a", "k": "many"}, [], 422, "k: Input should be a valid integer"),
        ({"text": "a" * 100_000}, [], 422, "text: String should have at most 1000 characters"),
        ({"text": "a", "w_image": "nan"}, [], 422, "w_image: "),
        ({"text": "a", "w_text": -1}, [], 422, "w_text: "),
        ({"text": "a", "steps": 0}, [], 422, "steps: "),
        ({"text": "a", "steps": 10_000}, [], 422, "steps: "),
        ({"text": "a", "seed": 2**70}, [], 422, "seed: "),
        ({"text": "a", "reference_id": "nobody"}, [], 422, "holds no picture 'nobody'"),
        ({"text": "a", "reference_id": "../../../etc/passwd"}, [], 422, "holds no picture"),
        ({"text": "a", "reference_embedding": "AAAA"}, [], 422, "3 bytes, which are no float32 numbers"),
        ({"text": "a", "reference_embedding": "AAAAAA=="}, [], 422, r"has the shape \(1,\), the encoder makes"),
        ({"text": "a", "reference_embedding": base64.b64encode(b"\xff" * 128).decode()}, [], 422, "NaN|base64"),
        ({"text": "a", "reference_embedding": long_embedding()}, [], 422, "a reference embedding has length 5.66e.30"),
        ({"reference_id": [RED, BLUE], "weight": [1]}, [], 422, "2 references and 1 weights"),
        ({"reference_id": [RED, BLUE], "weight": [0, 0]}, [], 422, "not all of them 0"),
        ({"text": "a", "mode": "magic"}, [], 422, "mode: "),
        ({"mode": "text", "reference_id": RED}, [], 422, "the mode text uses the relative caption"),
        ({"mode": "image", "text": "a"}, [], 422, "the mode image uses the reference"),
        ({"text": "a", "colour": "red"}, [], 422, "colour: Extra inputs are not permitted"),
    ],
)  # fmt: skip
def test_what_cannot_be_answered_is_a_4xx_in_words(client, fields, files, status, message):
    answer = client.post("/search", data=fields, files=files)
    streamed = client.post("/search", data=fields, files=files, headers={"Accept": "application/x-ndjson"})
    assert (streamed.status_code, streamed.text) == (answer.status_code, answer.text)
    assert answer.status_code == status, answer.text
    assert list(answer.json()) == ["error"]
    error = answer.json()["error"]
    assert "\n" not in error
    assert len(error) < 600
    assert re.search(message, error), error


def test_other_bodies_than_a_form_are_refused(client):
    for content, kind in ((b"\x00\x01", "multipart/form-data; boundary=x"), (b"", "")):
        answer = client.post("/search", content=content, headers={"Content-Type": kind})
        assert answer.status_code in (400, 422), answer.text
        assert "error" in answer.json()


def test_an_uploaded_copy_is_not_its_own_answer_and_its_query_sent_again_has_the_same(client, small_catalogue):
    saved_again = io.BytesIO()
    small_catalogue.read(RED).save(saved_again, "PNG", compress_level=1)
    files = {"reference": ("copy.png", saved_again.getvalue(), "image/png")}
    answer = client.post("/search", data={"text": "", "k": 30, "embedding": True}, files=files)
    assert RED not in ids(answer)
    assert RED in answer.json()["query"]["exclude"]
    assert answer.json()["notes"] == []
    assert ids(again(client, answer)) == ids(answer)


def test_an_upload_with_the_bytes_of_a_picture_of_the_index_is_that_picture(client, small_catalogue):
    """Weights stay with their references."""
    files = {"reference": ("copy.png", small_catalogue.read_bytes(RED), "image/png")}
    asked = {"text": "make it blue", "reference_id": [BLUE, "\N{DOG FACE}"], "weight": [3, 1, 2]}
    answer = client.post("/search", data=asked, files=files).json()["query"]
    dog = answer["reference_id"][2]
    assert answer["reference_id"] == [RED, BLUE, dog]
    assert dog.endswith("1F436")
    assert answer["weight"] == [3, 1, 2]
    assert answer["reference_embedding"] == []


def test_a_negative_text_without_effect_is_said(client):
    asked = {"reference_id": RED, "text": "blue", "negative": "square", "w_image": 1, "w_text": 1}
    (note,) = client.post("/search", data=asked).json()["notes"]
    assert "no effect at w_image 1 and w_text 1" in note
