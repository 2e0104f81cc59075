"""A server that wakes: the page and the state at once, 503 for queries, then the real application."""

import subprocess
import sys
import threading
import time
from contextlib import asynccontextmanager

import pytest
from fastapi.testclient import TestClient
from starlette.applications import Starlette

from compodiff.errors import InputInvalid
from compodiff.serving.api import create_app
from compodiff.serving.limits import Limits
from compodiff.serving.waking import WakingServer

HOSTS = ("testserver",)


def await_state(client: TestClient, wanted: str) -> dict[str, object]:
    end = time.monotonic() + 20
    while (state := client.get("/api/state").json())["state"] != wanted:
        assert time.monotonic() < end
        time.sleep(0.01)
    return state


def test_the_page_comes_at_once_and_queries_when_the_model_is_open(champion):
    opened = threading.Event()

    def make(tell):
        tell("opening the model", 0.5)
        opened.wait(20)
        return create_app(champion, limits=Limits(), refresh_seconds=600)

    with TestClient(WakingServer(make, token="", hosts=HOSTS)) as client:
        assert client.get("/").headers["content-security-policy"]
        assert client.get("/page/icon.svg").status_code == 200
        refused = client.post("/search", data={"text": "a cat"})
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
        assert list(refused.json()) == ["error"]
        uploaded = client.post("/search", files={"reference": b"a picture" * 100_000})
        assert (uploaded.status_code, uploaded.headers["retry-after"]) == (503, "1")
        assert client.get("/health").status_code == 503
        assert client.get("/", headers={"Host": "elsewhere"}).status_code == 400
        state = client.get("/api/state").json()
        assert state == {"state": "waking", "message": "opening the model", "progress": 0.5}
        opened.set()
        assert await_state(client, "ready")["progress"] == 1.0
        assert client.get("/health").json()["status"] == "ok"
        assert client.post("/search", data={"text": "a cat", "k": 1}).status_code == 200


@pytest.mark.parametrize(("token", "said"), [("", "no model here"), ("secret", "it says why where it was started")])
def test_a_server_that_cannot_start_says_so_and_ends(token, said, monkeypatch):
    monkeypatch.setattr("compodiff.serving.waking._SHOWN_SECONDS", 0.0)
    ended = threading.Event()

    def make(tell):
        raise InputInvalid("no model here")

    server = WakingServer(make, token=token, hosts=HOSTS)
    server.on_failure = ended.set
    with TestClient(server) as client:
        assert said in str(await_state(client, "failed")["message"])
        assert ended.wait(5)
    assert isinstance(server.failure, InputInvalid)


def test_an_application_that_does_not_start_is_a_failure(monkeypatch):
    monkeypatch.setattr("compodiff.serving.waking._SHOWN_SECONDS", 0.0)

    @asynccontextmanager
    async def fail(_):
        raise InputInvalid("no room here")
        yield

    server = WakingServer(lambda _: Starlette(lifespan=fail), token="", hosts=HOSTS)
    with TestClient(server) as client:
        assert await_state(client, "failed")["message"] == "no room here"
    assert isinstance(server.failure, InputInvalid)


def test_what_wakes_asks_for_the_token_and_a_server_ends_while_it_wakes():
    forever = threading.Event()
    server = WakingServer(lambda _: forever.wait(20), token="secret", hosts=HOSTS)  # noqa: S106
    with TestClient(server) as client:
        assert client.get("/model").status_code == 401
        assert client.get("/api/state").status_code == client.get("/").status_code == 200
        assert client.get("/model", headers={"Authorization": "Bearer secret"}).status_code == 503
    forever.set()


def test_what_answers_first_imports_no_torch():
    modules = "compodiff.serving.waking, compodiff.serving.running, compodiff.cli.serve, compodiff.cli.served_search"
    modules += ", compodiff.search.located, compodiff.serving.asking, compodiff.serving.records"
    code = f"import sys, {modules}; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
