"""Rates of clients, trusted proxies and the access log, around an application of a few lines."""

import json
import re
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient
from worlds.command import make_shell

from compodiff.errors import InputInvalid, ResourceUnavailable
from compodiff.serving.doorway import Doorway
from compodiff.serving.rate_limits import name_client


def answer(request: Request) -> PlainTextResponse:
    return PlainTextResponse(request.client.host if request.client else "")


def fail(_: Request) -> PlainTextResponse:
    raise ZeroDivisionError


def open_client(doorway: Doorway, address: str = "192.0.2.1") -> TestClient:
    routes = [
        Route("/search", answer, methods=["POST", "GET"]),
        Route("/session", answer, methods=["POST"]),
        Route("/pictures/{picture_id:path}", answer),
        Route("/fail", fail),
    ]
    app = doorway.wrap(Starlette(routes=routes))
    return TestClient(app, client=(address, 1), raise_server_exceptions=False)


def test_a_client_that_asks_too_often_is_told_when_to_come_again_and_others_go_on() -> None:
    client = open_client(Doorway(rate="2/minute"))
    assert [client.post("/search").status_code for _ in range(3)] == [200, 200, 429]
    refused = client.post("/search")
    assert 1 <= int(refused.headers["retry-after"]) <= 60
    assert refused.json()["error"] == (
        f"one client may ask 2 times in a minute; try again in {refused.headers['retry-after']} s"
    )
    assert client.get("/search").status_code == 429  # a search by its address is one as well
    assert client.get("/pictures/a").status_code == client.post("/session").status_code == 200
    other = TestClient(client.app, client=("192.0.2.2", 1))
    assert other.post("/search").status_code == 200


def test_a_forwarded_address_is_believed_from_a_trusted_proxy_alone() -> None:
    forwarded = {"X-Forwarded-For": "198.51.100.7", "X-Request-ID": "abc"}
    for proxies, believed in (((), False), (("203.0.113.0/24",), False), (("192.0.2.0/24",), True)):
        client = open_client(Doorway(rate="1/minute", proxies=proxies))
        answered = client.post("/search", headers=forwarded)
        assert answered.text == ("198.51.100.7" if believed else "192.0.2.1")
        assert (answered.headers["x-request-id"] == "abc") is believed
        another = client.post("/search", headers={"X-Forwarded-For": "198.51.100.8"})
        assert another.status_code == (200 if believed else 429)


@pytest.mark.parametrize("proxy", ["10.0.0.0/88", "10.0.0.1/8", "nonsense", "*", ""])
def test_a_proxy_that_is_no_network_is_a_wrong_use_of_serve(
    proxy: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = make_shell(monkeypatch, capsys)("serve", "--proxy", "10.0.0.0/8", "--proxy", proxy)
    assert (code, out) == (2, "")
    said = f"{proxy or 'nothing'} is no network such as 10.0.0.0/8"
    assert f"Invalid value for '--proxy': {said}" in err  # in one line, within typer's frame
    with pytest.raises(InputInvalid, match=re.escape(said)):
        Doorway(proxies=(proxy,)).wrap(Starlette())


def test_a_rate_that_is_none_is_refused_before_anything_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = make_shell(monkeypatch, capsys)("serve", "--port", "0", "--rate", "0/minute")
    assert (code, out) == (1, "")
    assert err == "compodiff: --rate 0/minute lets nobody ask; write one such as 120/minute\n"


def test_a_log_of_trials_without_a_trial_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = make_shell(monkeypatch, capsys)("serve", "--port", "0", "--trial-log", "trial.jsonl")
    assert (code, err) == (1, "compodiff: --trial-log trial.jsonl is of --shadow or --canary; give one of them\n")
    both = ("--canary", "artifacts", "--trial-log", "log.jsonl", "--access-log", "./log.jsonl")
    code, _, err = make_shell(monkeypatch, capsys)("serve", "--port", "0", *both)
    assert (code, err) == (1, "compodiff: --trial-log and --access-log are both log.jsonl; name two files\n")


def test_one_subscriber_of_ipv6_is_one_client() -> None:
    networks = {name_client({"client": (each, 1)}) for each in ("2001:db8::1", "2001:db8::2:3")}
    assert networks == {"2001:db8::/64"}
    assert name_client({"client": None}) == ""
    assert name_client({"client": ("testclient", 1)}) == "testclient"


def test_a_client_of_ipv4_is_known_by_its_address_on_a_socket_of_both_families() -> None:
    client = open_client(Doorway(rate="1/minute", proxies=("192.0.2.0/24",)), "::ffff:192.0.2.1")
    asked = [client.post("/search", headers={"X-Forwarded-For": f"{prefix}198.51.100.7"}) for prefix in ("", "::ffff:")]
    assert [each.status_code for each in asked] == [200, 429], "believed, and the same client twice"
    others = [open_client(Doorway(), f"::ffff:192.0.2.{number}").post("/search").text for number in (1, 2)]
    assert others == ["192.0.2.1", "192.0.2.2"]


def test_a_line_says_who_asked_what_route_and_nothing_that_was_typed_or_looked_at(tmp_path: Path) -> None:
    log = tmp_path / "logs" / "access.jsonl"
    client = open_client(Doorway(access_log=str(log)))
    named = client.post("/search?text=secret", data={"text": "secret"}).headers["x-request-id"]
    client.get("/pictures/secret.png", params={"contains": "secret"})
    assert client.get("/fail").status_code == 500
    client.get("/secret")
    text = log.read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    assert "secret" not in text
    assert [(line["method"], line["route"], line["status"]) for line in lines] == [
        ("POST", "/search", 200),
        ("GET", "/pictures/{picture_id:path}", 200),
        ("GET", "/fail", 500),
        ("GET", "other", 404),
    ]
    assert (lines[0]["request"], lines[0]["client"], lines[0]["bytes"]) == (named, "192.0.2.1", len("192.0.2.1"))
    assert re.fullmatch(r"[0-9a-f]{32}", named)
    assert log.stat().st_mode & 0o077 == 0


def test_the_log_goes_to_stdout_where_that_is_asked(capsys: pytest.CaptureFixture[str]) -> None:
    open_client(Doorway(access_log="-")).post("/search")
    assert json.loads(capsys.readouterr().out)["route"] == "/search"


def test_what_cannot_be_used_is_refused_in_words(tmp_path: Path) -> None:
    for rate in ("often", "0/minute"):
        with pytest.raises(InputInvalid, match=f"--rate {rate} .*write one such as 120/minute"):
            Doorway(rate=rate).wrap(Starlette())
    (tmp_path / "file").write_text("")
    with pytest.raises(ResourceUnavailable, match="cannot be written"):
        Doorway(access_log=str(tmp_path / "file" / "log")).wrap(Starlette())
