"""A shadow never touches an answer, a canary is withdrawn once and for good, kept queries are a fair draw."""

import asyncio
import json
import queue
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from worlds.search import places_in

from compodiff.drift.reservoir import QueryReservoir, read_kept_queries
from compodiff.encoders.reranking import Reranking
from compodiff.search.query import Query
from compodiff.serving.api import create_app
from compodiff.serving.canary import Canary, CanaryBounds
from compodiff.serving.champion import Champion
from compodiff.serving.json_log import open_json_log
from compodiff.serving.live_watch import LiveWatch
from compodiff.serving.shadow import Shadow
from compodiff.serving.trials import Trial
from compodiff.serving.verdicts import record_nowhere

RED = "twemoji-1F534"


@pytest.fixture(scope="module")
def challenger(search_project: Path, tmp_path_factory: pytest.TempPathFactory) -> Champion:
    """The same weights as another version in another folder."""
    there = tmp_path_factory.mktemp("challenger")
    for name in ("composed", "sampling.json"):
        (there / name).symlink_to(search_project / "artifacts" / name)
    places = replace(places_in(search_project / "artifacts", "the second"), composed=there / "composed")
    return Champion(lambda: places)


@contextmanager
def serve(champion: Champion, watch: LiveWatch) -> Iterator[TestClient]:
    with TestClient(create_app(champion, refresh_seconds=600, watch=watch)) as client:
        yield client


def wait_for(client: TestClient, line: str) -> str:
    until = time.monotonic() + 20
    while line not in (metrics := client.get("/metrics").text) and time.monotonic() < until:
        time.sleep(0.02)
    assert line in metrics
    return str(metrics)


def test_a_shadow_answers_the_same_queries_and_its_faults_are_its_own(
    champion: Champion, challenger: Champion, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = open_json_log("compodiff.trial", str(tmp_path / "trial.jsonl"))
    told: list[tuple[str, str, Mapping[str, float]]] = []
    shadow = Shadow(challenger, 1.0, log, lambda *verdict: told.append(verdict))
    with serve(champion, LiveWatch(shadow=shadow)) as client:
        client.post("/search", data={"reference_id": RED, "text": "a secret"})
        metrics = wait_for(client, 'compodiff_shadow_queries_total{outcome="answered"} 1.0')
        assert "compodiff_shadow_overlap_sum 1.0" in metrics
        monkeypatch.setattr(challenger.live.searcher, "answer", lambda _: 1 / 0)
        assert client.post("/search", data={"reference_id": RED, "text": "a secret"}).status_code == 200
        wait_for(client, 'compodiff_shadow_queries_total{outcome="failed"} 1.0')
    answered, failed = (json.loads(line) for line in (tmp_path / "trial.jsonl").read_text().splitlines())
    assert (answered["overlap"], answered["same_first"], answered["shadow"]) == (1.0, True, "the second")
    assert (failed["outcome"], failed["error"]) == ("failed", "ZeroDivisionError")
    assert "secret" not in (tmp_path / "trial.jsonl").read_text()
    ((version, said, figures),) = told  # once, when the server ends
    assert (version, said[:41]) == ("the second", "2 live queries, 1 failed; 100% of the ans")
    assert (figures["shadow/queries"], figures["shadow/failed"], figures["shadow/overlap"]) == (2, 1, 1)


class Backwards:
    """Likes the last picture best."""

    def score(self, _references: object, _text: str, pictures: Sequence[object]) -> np.ndarray:
        return np.arange(len(pictures), dtype=np.float32)


def test_what_looks_at_the_champions_answers_again_looks_at_a_challengers(search_project: Path) -> None:
    again = Reranking(Backwards(), 3)
    model = str(search_project / "artifacts")
    watch = Trial(shadow=model, canary=model).open(search_project / "artifacts" / "index", again)
    tried = [each.challenger.live.searcher.reranking for each in (watch.shadow, watch.canary) if each is not None]
    assert tried == [again, again]


def test_a_shadow_waits_for_idleness_and_drops_what_it_cannot_do(champion: Champion, challenger: Champion) -> None:
    shadow = Shadow(challenger, 1.0, None)
    answer = champion.live.searcher.search(RED, "in blue", k=3)

    async def offer_many() -> None:
        for _ in range(40):
            shadow.offer(None, answer, champion.live, 0.1)  # type: ignore[arg-type]  # never looked at
        running = asyncio.create_task(shadow.run(lambda: False))
        await asyncio.sleep(0.1)
        running.cancel()

    asyncio.run(offer_many())
    assert shadow.queries.labels("dropped")._value.get() == 8
    never = Shadow(challenger, 0.0, None)
    never.offer(None, answer, champion.live, 0.1)  # type: ignore[arg-type]
    assert never._queue.empty()


BOUNDS = CanaryBounds(least_queries=10)


def make_canary(challenger: Champion, share: float = 0.3, **how: Any) -> Canary:
    return Canary(challenger, share, how.get("log"), BOUNDS, how.get("record", record_nowhere))


def test_a_client_stays_with_its_model_and_the_share_is_kept(champion: Champion, challenger: Champion) -> None:
    canary = make_canary(challenger)
    clients = [f"192.0.2.{number}" for number in range(250)] + [f"198.51.100.{number}" for number in range(250)]
    first = [canary._choose(client, champion.live) for client in clients]
    assert [canary._choose(client, champion.live) for client in clients] == first
    shares = Counter(live.places.version for live in first)
    assert 0.22 < shares["the second"] / 500 < 0.38
    assert make_canary(champion)._choose("192.0.2.1", champion.live) is champion.live, "it is the champion by now"


@pytest.mark.parametrize(
    ("own", "other", "reason"),
    [
        ([None] * 3 + [0.1] * 20, [0.1] * 23, "3 of 3 queries failed, of the champion's 0.0%"),
        ([0.4] * 12, [0.1] * 12, "95 % of queries take up to 0.40 s, the champion's 0.10 s"),
        ([0.19] * 12, [0.1] * 12, ""),
        ([None] * 2 + [0.1] * 20, [0.1] * 22, ""),
        ([None, *[0.1] * 4] * 4, [None, *[0.1] * 4] * 4, ""),
        ([9.9] * 9, [0.1] * 20, ""),
        ([0.1] * 12, [None] * 12, ""),
    ],
)
def test_a_canary_is_withdrawn_for_errors_or_latency_beyond_the_champions(
    champion: Champion, challenger: Champion, own: list[float | None], other: list[float | None], reason: str
) -> None:
    canary = make_canary(challenger)
    for seconds in other:
        canary.note(champion.live, seconds)
    for seconds in own:
        canary.note(challenger.live, seconds)
    assert canary.withdrawn == reason


def test_what_was_withdrawn_stays_so_and_another_version_is_tried(
    champion: Champion, challenger: Champion, tmp_path: Path
) -> None:
    told: queue.Queue[tuple[str, str, Mapping[str, float]]] = queue.Queue()
    log = open_json_log("compodiff.trial", str(tmp_path / "log"))
    canary = make_canary(challenger, share=1.0, log=log, record=lambda *verdict: told.put(verdict))
    assert canary._choose("a", champion.live) is challenger.live
    for seconds in (None, None, None, *[0.1] * 200):
        canary.note(challenger.live, seconds)
    assert canary._choose("a", champion.live) is champion.live
    (line,) = (tmp_path / "log").read_text().splitlines()
    assert json.loads(line)["outcome"] == "withdrawn"
    version, _, figures = told.get(timeout=20)  # from a thread, and once
    assert (version, figures["canary/failed"], told.empty()) == ("the second", 3, True)
    newer = replace(challenger.live, places=replace(challenger.live.places, version="the third"))
    canary.challenger = type("Followed", (), {"live": newer})()  # type: ignore[assignment]
    assert canary._choose("a", champion.live) is newer


def test_a_challenger_that_was_promoted_is_not_withdrawn_as_it_reigns(
    champion: Champion, challenger: Champion, tmp_path: Path
) -> None:
    promoted = replace(challenger.live, places=replace(challenger.live.places, model="the champion's alias"))
    canary, kept = make_canary(challenger, share=1.0), QueryReservoir(tmp_path / "kept")
    watch = LiveWatch(canary=canary, kept=kept)
    answer = champion.live.searcher.search(RED, "in blue", k=1)
    query = Query(RED, "in blue")
    assert watch.prepare(query, "a", champion.live)[0] is challenger.live
    assert watch.prepare(query, "a", promoted)[0] is promoted
    for _ in range(9):
        assert not watch.can_fall_back(promoted)
    watch.note(query, answer, promoted, 0.1)
    assert (canary.withdrawn, kept._seen) == ("", 1)


def test_queries_that_the_canary_answers_are_not_kept_beside_the_champions(
    champion: Champion, challenger: Champion, tmp_path: Path
) -> None:
    kept = QueryReservoir(tmp_path / "kept")
    watch = LiveWatch(canary=make_canary(challenger), kept=kept)
    answer = champion.live.searcher.search(RED, "in blue", k=1)
    for live in (champion.live, challenger.live, champion.live, challenger.live, champion.live):
        watch.note(Query(RED, "in blue"), answer, live, 0.1)
    assert (kept._version, kept._seen) == ("the first", 3)


@pytest.mark.parametrize("method", ["prepare", "answer_all"])
def test_a_query_that_the_canary_fails_is_answered_by_the_champion(
    champion: Champion, challenger: Champion, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    whole = {"reference_id": RED, "text": "in blue"}
    canary = make_canary(challenger, share=1.0)
    with serve(champion, LiveWatch(canary=canary)) as client:
        first = client.post("/search", data=whole).json()
        monkeypatch.setattr(challenger.live.searcher, method, lambda *_: 1 / 0)
        for _ in range(4):
            answered = client.post("/search", data=whole)
            assert (answered.status_code, answered.json()["results"]) == (200, first["results"])
        metrics = client.get("/metrics").text
        assert client.post("/search", data={"reference_id": "nobody", "text": "x"}).status_code == 422
    assert 'compodiff_canary_queries_total{model="canary",outcome="answered"} 1.0' in metrics
    assert 'compodiff_canary_queries_total{model="canary",outcome="failed"} 3.0' in metrics
    assert "compodiff_canary_active 0.0" in metrics


def test_queries_are_kept_as_embeddings_alone(champion: Champion, tmp_path: Path) -> None:
    path = tmp_path / "kept" / "queries.npz"
    with serve(champion, LiveWatch(kept=QueryReservoir(path))) as client:
        client.post("/search", data={"reference_id": RED, "text": "a secret", "less": "twemoji-1F535"})
        client.post("/search", data={"text": "a secret"})
    held = read_kept_queries(path)
    assert (held.version, held.seen, held.answers.shape) == ("the first", 2, (2, 32))
    assert np.allclose(held.references[0], champion.live.searcher.index.read_embedding(RED), atol=1e-5)
    assert np.isnan(held.references[1]).all()
    assert (held.liked.tolist(), held.disliked.tolist()) == ([0, 0], [1, 0])
    assert path.stat().st_mode & 0o077 == 0
    assert b"secret" not in path.read_bytes()
    assert QueryReservoir(path)._seen == 2


def test_what_goes_wrong_in_the_background_is_logged_and_the_loops_go_on(
    champion: Champion,
    challenger: Champion,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Restless(Champion):
        def __init__(self) -> None:
            self.live, self.fault, self.reloads, self.looks = champion.live, "", 0, 0

        def refresh(self) -> None:
            self.looks += 1
            raise RuntimeError("out of memory")

    restless, kept = Restless(), QueryReservoir(tmp_path / "kept")
    shadow = Shadow(challenger, 1.0, None)
    monkeypatch.setattr("compodiff.serving.live_watch._SAVE_SECONDS", 0.05)
    monkeypatch.setattr(kept, "save", lambda: 1 / 0)
    monkeypatch.setattr(shadow, "_answer", lambda _: 1 / 0)
    watch = LiveWatch(shadow=shadow, canary=make_canary(restless), kept=kept)
    with TestClient(create_app(restless, refresh_seconds=0.05, watch=watch)) as client:
        for _ in range(2):
            client.post("/search", data={"reference_id": RED, "text": "in blue"})
        until = time.monotonic() + 20
        said: Counter[str] = Counter()
        while min(said.values(), default=0) < 2 or len(said) < 3:
            assert time.monotonic() < until, said
            time.sleep(0.05)
            said = Counter(record.message for record in caplog.records if record.exc_info)
    assert restless.looks > 3  # as champion and as challenger


def test_kept_queries_are_written_at_the_end_though_a_loop_ended(
    champion: Champion, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object) -> None:
        raise RuntimeError("nobody foresaw this")

    monkeypatch.setattr(LiveWatch, "run", fail)
    with (
        pytest.raises(RuntimeError, match="foresaw"),
        serve(champion, LiveWatch(kept=QueryReservoir(tmp_path / "kept"))) as client,
    ):
        client.post("/search", data={"reference_id": RED, "text": "in blue"})
    assert read_kept_queries(tmp_path / "kept").seen == 1
