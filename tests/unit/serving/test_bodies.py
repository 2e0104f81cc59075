"""A search as a form, as JSON and as an address: three spellings of one query."""

import base64
import re

import pytest
from factories import draw_box_mask, encode_picture
from fastapi.testclient import TestClient
from PIL import Image

from compodiff.serving.api import create_app
from compodiff.serving.openings import Openings

RED = "twemoji-1F534"


def _answer(response) -> tuple[dict, list]:
    assert response.status_code == 200, response.text
    return response.json()["query"], response.json()["results"]


def test_a_form_json_and_an_address_are_one_query(client):
    asked = {"reference_id": ["🔴"], "text": "make it blue", "w_text": 2.5, "k": 4, "more": ["🔵"], "exclude": ["none"]}
    form = _answer(client.post("/search", data=asked))
    assert (form[0]["reference_id"], form[0]["more"]) == ([RED], ["twemoji-1F535"])
    assert _answer(client.post("/search", json={**asked, "seed": None})) == form
    assert _answer(client.get("/search", params={**asked, "trail": "text=a", "thumbnail": "data:x"})) == form
    assert _answer(client.get("/search", params={name: value for name, value in form[0].items() if value})) == form


@pytest.mark.parametrize("start", ["", "data:image/png;base64,"])
def test_pictures_come_in_json_as_base64(client, start):
    picture, mask = (
        encode_picture(Image.new("RGB", (64, 64), "red")),
        encode_picture(draw_box_mask((64, 64), (0, 0, 32, 64))),
    )
    written = [start + base64.b64encode(each).decode() for each in (picture, mask)]
    by_json = client.post("/search", json={"reference": written[:1], "mask": written[1], "text": "a hat", "k": 3})
    by_form = client.post("/search", data={"text": "a hat", "k": 3}, files={"reference": picture, "mask": mask})
    assert _answer(by_json) == _answer(by_form)
    frames = client.post("/imagine", json={"reference": written[:1], "text": "a hat", "steps": 3})
    assert len(frames.json()["steps"]) == 4


def test_embeddings_come_where_they_are_asked_for(client):
    picture = {"reference": encode_picture(Image.new("RGB", (64, 64), "red"))}
    plain = client.post("/search", data={"text": "a hat"}, files=picture).json()
    assert (plain["embedding"], plain["query"]["reference_embedding"]) == (None, [])
    whole = client.post("/search", data={"text": "a hat", "embedding": True}, files=picture).json()
    assert len(base64.urlsafe_b64decode(whole["embedding"])) == 4 * 32
    assert len(whole["query"]["reference_embedding"]) == 1
    assert whole["results"] == plain["results"]


@pytest.mark.parametrize(
    ("content", "kind", "status", "message"),
    [
        (b"{", "application/json", 422, "the body: Invalid JSON"),
        (b"[1]", "application/json; charset=utf-8", 422, "the body: Input should be an object"),
        (b'{"text": {"a": 1}}', "application/json", 422, "^text: Input should be a valid string"),
        (b'{"text": "a", "colour": "red"}', "application/json", 422, "^colour: Extra inputs are not permitted"),
        (b'{"reference": ["??"]}', "application/json", 422, "reference is no base64"),
        (b'{"reference": ["AAAA"]}', "application/json", 422, "the reference: not a JPEG"),
        (b"text=a", "text/plain", 415, "a search is a form or application/json, not text/plain"),
    ],
)
def test_what_is_neither_is_refused_in_words(client, content, kind, status, message):
    answer = client.post("/search", content=content, headers={"Content-Type": kind})
    assert answer.status_code == status
    assert re.search(message, answer.json()["error"]), answer.text
    assert client.get("/search?colour=red").json()["error"].startswith("colour: Extra inputs")


def test_openapi_describes_the_three(client):
    search = client.get("/openapi.json").json()["paths"]["/search"]
    content = search["post"]["requestBody"]["content"]
    assert list(content) == ["multipart/form-data", "application/json"]
    fields = set(content["application/json"]["schema"]["properties"])
    assert {each["name"] for each in search["get"]["parameters"]} == fields - {"reference", "mask"} | {
        "trail",
        "thumbnail",
    }


def test_the_pages_may_be_loaded_without_the_token_and_begin_no_work(champion, monkeypatch):
    monkeypatch.setattr(Openings, "find", None)
    app = create_app(champion, token="open sesame", refresh_seconds=600)  # noqa: S106
    with TestClient(app) as client:
        for address in ("/", "/docs"):
            assert client.get(address).status_code == 200
            assert "http" not in client.get(address).text
        assert client.get("/search?text=a").status_code == 401
