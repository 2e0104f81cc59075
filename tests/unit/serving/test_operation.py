import asyncio
import io
from collections.abc import Iterator
from dataclasses import replace

import pytest
from fastapi.testclient import TestClient
from PIL import Image

from compodiff.errors import InputInvalid, ResourceUnavailable
from compodiff.images import PictureTable
from compodiff.images.table import tabulate
from compodiff.search.query import Query
from compodiff.serving.api import create_app
from compodiff.serving.batching import Batcher
from compodiff.serving.limits import Limits
from compodiff.serving.pictures import ThumbnailEdge, _make_webp
from compodiff.serving.running import ServePlan, run_server

RED = "twemoji-1F534"


@pytest.fixture
def guarded(champion) -> Iterator[TestClient]:
    with TestClient(create_app(champion, token="open sesame", refresh_seconds=600)) as client:  # noqa: S106
        yield client


def test_pictures_come_as_they_are_and_small(client, small_catalogue):
    whole = client.get(f"/pictures/{RED}")
    assert whole.content == small_catalogue.read_bytes(RED)
    assert whole.headers["content-type"] == "image/png"
    small = client.get(f"/thumbnails/{RED}", params={"edge": 160})
    assert small.headers["content-type"] == "image/webp"
    assert max(Image.open(io.BytesIO(small.content)).size) <= 160
    again = client.get(f"/thumbnails/{RED}", params={"edge": 160}, headers={"If-None-Match": small.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    large = Image.open(io.BytesIO(client.get(f"/thumbnails/{RED}", params={"edge": 640}).content))
    assert large.size == (640, 640), "an emoji was not drawn anew from its SVG"


def test_a_damaged_emoji_is_one_line_at_every_size(small_catalogue, tmp_path):
    (tmp_path / "red.png").write_bytes(small_catalogue.read_bytes(RED)[:40])
    pictures = PictureTable(tmp_path, tabulate(tmp_path, {RED: (tmp_path / "red.png", 0, 40)}))
    for edge in ThumbnailEdge:
        with pytest.raises(InputInvalid, match=RED):
            _make_webp(pictures, RED, edge)


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/pictures/nobody", 404),
        ("/thumbnails/nobody", 404),
        ("/pictures/../../etc/passwd", 404),
        ("/pictures/%2e%2e/%2e%2e/params.yaml", 404),
        ("/pictures//etc/passwd", 404),
        ("/thumbnails/..%2f..%2f..%2fetc%2fpasswd", 404),
        ("/page/%2e%2e/api.py", 404),
        (f"/thumbnails/{RED}?edge=9999", 422),
        ("/pictures?limit=100000", 422),
        ("/nowhere", 404),
    ],
)
def test_addresses_outside_are_refused_in_words(client, path, status):
    answer = client.get(path)
    assert answer.status_code == status
    assert list(answer.json()) == ["error"]


def test_a_table_that_names_files_outside_its_folder_is_not_followed(champion, tmp_path):
    (tmp_path / "secret").write_bytes(b"\x89PNG\r\n\x1a\n secret")
    pictures = champion.live.searcher.pictures
    for outside in (str(tmp_path / "secret"), "../../secret"):
        pictures._at["outside"] = (outside, 0, 100)
        with pytest.raises(InputInvalid, match="lies outside"):
            pictures.read_bytes("outside")
        del pictures._at["outside"]


def test_the_gallery_is_listed_by_part_of_the_name_and_by_id(client, champion):
    listing = client.get("/pictures", params={"contains": "RED circle"}).json()
    assert {each["picture_id"] for each in listing["pictures"]} >= {RED}
    assert all("red circle" in each["name"] for each in listing["pictures"])
    everything = client.get("/pictures", params={"limit": 2, "offset": 3}).json()
    assert everything["count"] == champion.live.searcher.index.manifest.count
    assert len(everything["pictures"]) == 2
    by_id = client.get("/pictures", params={"picture_id": [RED, "nobody"]}).json()
    assert [each["picture_id"] for each in by_id["pictures"]] == [RED]


def test_health_model_and_metrics_say_what_is_served(client, champion):
    assert client.get("/health").json()["status"] == "ok"
    model = client.get("/model").json()
    assert model["sampling"]["w_text"] == champion.live.searcher.composer.sampling.w_text
    assert model["paper"] == {"w_image": 1.5, "w_text": 7.5, "steps": 10}
    assert "picture_id" in model["columns"]
    client.post("/search", data={"text": "a cat"})
    metrics = client.get("/metrics").text
    assert 'compodiff_requests_total{route="/search",status="200"}' in metrics
    assert 'compodiff_query_seconds_count{phase="sample"}' in metrics
    assert "compodiff_queries_waiting 0.0" in metrics


def test_a_query_that_fails_by_a_fault_of_ours_is_counted(champion, monkeypatch):
    def fail(*_: object) -> None:
        raise RuntimeError("a fault of ours")

    app = create_app(champion, refresh_seconds=600)
    monkeypatch.setattr("compodiff.serving.service.Service.begin", fail)
    with TestClient(app, raise_server_exceptions=False) as client:
        assert client.post("/search", data={"text": "a cat"}).status_code == 500
        assert 'compodiff_requests_total{route="/search",status="500"} 1.0' in client.get("/metrics").text


def test_the_page_loads_nothing_from_elsewhere(client):
    page = client.get("/")
    assert "default-src 'self'" in page.headers["content-security-policy"]
    assert "http" not in page.text
    for name in ("app.js", "bar.js", "style.css", "icon.svg"):
        assert client.get(f"/page/{name}").status_code == 200


def test_the_token_opens_the_api_by_header_and_by_cookie(guarded):
    assert guarded.get("/model").status_code == 401
    assert guarded.get("/model").headers["www-authenticate"] == "Bearer"
    assert guarded.post("/search", data={"text": "a"}).status_code == 401
    assert guarded.get(f"/pictures/{RED}").status_code == 401
    assert guarded.get("/model", headers={"Authorization": "Bearer open sesame"}).status_code == 200
    assert guarded.get("/model", headers={"Authorization": "Bearer close sesame"}).status_code == 401
    assert guarded.get("/model", headers={"Cookie": "compodiff_token=\x7f; =;"}).status_code == 401
    assert guarded.get("/").status_code == guarded.get("/health").status_code == 200
    assert guarded.post("/session", data={"token": "wrong"}).status_code == 401
    opened = guarded.post("/session", data={"token": "open sesame"})
    assert opened.status_code == 204
    assert "HttpOnly" in opened.headers["set-cookie"]
    assert guarded.get("/model").status_code == 200


@pytest.mark.parametrize("kind", ["multipart/form-data; boundary=x", "application/json"])
def test_a_body_that_hides_its_length_is_counted(client, kind):
    def endless() -> Iterator[bytes]:
        yield b'--x\r\nContent-Disposition: form-data; name="reference"; filename="a"\r\n\r\n'
        for _ in range(100):
            yield bytes(10_000)

    answer = client.post("/search", content=endless(), headers={"Content-Type": kind})
    assert answer.status_code == 413
    assert "a request may have 200,000 bytes" in answer.json()["error"]


def test_another_sites_name_for_this_machine_is_refused(champion):
    with TestClient(create_app(champion, hosts=("127.0.0.1", "localhost")), base_url="http://127.0.0.1:80") as client:
        assert client.get("/health").status_code == 200
        assert client.get("/health", headers={"Host": "rebound.example"}).status_code == 400


def test_more_queries_than_may_wait_are_told_to_come_again(champion):
    with TestClient(create_app(champion, limits=Limits(waiting=0))) as client:
        answer = client.post("/search", data={"text": "a"})
    assert answer.status_code == 429
    assert answer.headers["retry-after"] == "1"
    assert answer.json()["error"] == "0 queries are waiting; try again in 1 s"


async def _together(champion, queries, most=32):
    """Submit queries at once; return the outcomes and the sizes of the batches."""
    sizes: list[int] = []
    batcher = Batcher(most, sizes.append)
    live = champion.live
    submitted = [batcher.submit(live, live.searcher.prepare(query)) for query in queries]
    waiting = asyncio.gather(*submitted, return_exceptions=True)
    await asyncio.sleep(0)
    running = asyncio.create_task(batcher.run())
    outcomes = await waiting
    running.cancel()
    return outcomes, sizes


def test_queries_that_wait_are_answered_together_each_as_if_alone(champion):
    queries = [Query(RED, f"colour {number}", k=5, num_inference_steps=1 + number % 2) for number in range(10)]
    outcomes, sizes = asyncio.run(_together(champion, queries))
    assert sizes == [10]
    for query, (answer, waited) in zip(queries, outcomes, strict=True):
        assert [hit.picture_id for hit in answer.hits] == [
            hit.picture_id for hit in champion.live.searcher.answer(query)
        ]
        assert waited >= 0
    assert asyncio.run(_together(champion, queries, most=4))[1] == [4, 4, 2]


def test_a_query_that_nobody_waits_for_any_more_is_not_answered(champion):
    sizes: list[int] = []

    async def submit_and_leave() -> None:
        batcher = Batcher(8, sizes.append)
        prepared = champion.live.searcher.prepare(Query(RED, k=1))
        left, waiting = (asyncio.create_task(batcher.submit(champion.live, prepared)) for _ in range(2))
        await asyncio.sleep(0)
        left.cancel()
        running = asyncio.create_task(batcher.run())
        await waiting
        running.cancel()

    asyncio.run(submit_and_leave())
    assert sizes == [1]


def test_a_query_that_fails_in_a_batch_does_not_cost_the_others_theirs(champion, monkeypatch):
    live = champion.live
    good, bad = (live.searcher.prepare(Query(RED, text, k=3)) for text in ("good", "bad"))
    answer_all = live.searcher.answer_all

    def refusing(prepared, watch):
        if any(each.asked.relative_caption == "bad" for each in prepared):
            raise InputInvalid("no such thing")
        return answer_all(prepared, watch)

    monkeypatch.setattr(live.searcher, "answer_all", refusing)
    queries = [good.asked, replace(bad.asked), good.asked]
    outcomes, _ = asyncio.run(_together(champion, queries))
    assert [isinstance(outcome, InputInvalid) for outcome in outcomes] == [False, True, False]


def test_a_bug_in_a_batch_is_an_error_to_its_queries_and_the_next_are_answered(champion, monkeypatch):
    live = champion.live

    async def twice():
        batcher = Batcher(8, lambda _: None)
        running = asyncio.create_task(batcher.run())
        prepared = live.searcher.prepare(Query(RED, "a", k=3))
        with monkeypatch.context() as broken:
            broken.setattr(live.searcher, "answer_all", lambda *_: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                await batcher.submit(live, prepared)
        answer, _ = await batcher.submit(live, prepared)
        running.cancel()
        return answer

    assert len(asyncio.run(twice()).hits) == 3


@pytest.mark.parametrize(
    ("token", "said"),
    [("häuser", "printable ASCII"), ("€", "printable ASCII"), ("a\nb", "printable ASCII"), ("secret\n", "white space")],
)
def test_a_token_that_no_client_can_send_is_refused_before_the_port_is_bound(token, said, monkeypatch):
    monkeypatch.setattr("compodiff.serving.running._listen", lambda *_: pytest.fail("the port was bound"))
    with pytest.raises(InputInvalid, match=said) as refused:
        run_server(ServePlan(token=token, port=0))
    assert token.strip() not in str(refused.value)


def test_a_host_that_is_not_this_machine_is_not_helped_by_another_port():
    with pytest.raises(ResourceUnavailable, match="name an address of this machine"):
        run_server(ServePlan(host="192.0.2.1", token="secret", port=0))  # noqa: S106
