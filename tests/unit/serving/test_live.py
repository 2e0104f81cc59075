import json
import shutil
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from fastapi.testclient import TestClient
from httpx import Response
from safetensors.torch import load_file, save_file
from worlds.search import places_in

from compodiff.errors import CheckpointMismatch, IndexMismatch
from compodiff.search.locate import CHAMPION
from compodiff.search.progress import PhaseTimer
from compodiff.serving import places
from compodiff.serving.api import create_app
from compodiff.serving.champion import Champion
from compodiff.tracking.registry import MODEL, ModelCandidate, register_model
from compodiff.tracking.store import open_store


@pytest.fixture
def artifacts(search_project, tmp_path):
    """A copy of the project's artifacts that may be changed; the gallery stays where it is."""
    ignored = shutil.ignore_patterns("benchmark_embeddings", "benchmarks")
    shutil.copytree(search_project / "artifacts", tmp_path / "artifacts", ignore=ignored)
    (tmp_path / "artifacts" / "benchmarks").symlink_to(search_project / "artifacts" / "benchmarks")
    return tmp_path / "artifacts"


@pytest.fixture
def other_model(artifacts):
    """The same model with other weights, in a folder of its own."""
    other = artifacts.with_name("other")
    shutil.copytree(artifacts, other, symlinks=True)
    weights = load_file(other / "composed" / "model.safetensors")
    weights["output_projection.weight"] *= -1
    save_file(weights, other / "composed" / "model.safetensors")
    return other


def test_the_champion_changes_under_load_and_no_query_is_dropped(artifacts, other_model):
    now = [places_in(artifacts, "version 1")]
    with TestClient(create_app(Champion(lambda: now[0]), refresh_seconds=0.05)) as client:

        def asked(number):
            if number == 20:
                now[0] = places_in(other_model, "version 2")
            return client.post("/search", data={"text": "a cat", "reference_id": "twemoji-1F534", "k": 5})

        with ThreadPoolExecutor(4) as pool:
            answers = list(pool.map(asked, range(300)))
        assert {answer.status_code for answer in answers} == {200}
        rankings = {
            answer.json()["model"]: [found["picture_id"] for found in answer.json()["results"]] for answer in answers
        }
        assert set(rankings) == {"version 1", "version 2"}
        for answer in answers:  # a query has one model from its beginning to its end
            found = [found["picture_id"] for found in answer.json()["results"]]
            assert found == rankings[answer.json()["model"]]
        assert rankings["version 1"] != rankings["version 2"]
        assert client.get("/health").json() == {"status": "ok", "reason": "", "model": "version 2", "pictures": 157}
        assert client.get("/model").json()["reloads"] == 1


def test_what_cannot_be_opened_leaves_the_old_one_answering_and_says_why(artifacts, other_model):
    now = [places_in(artifacts, "version 1")]
    champion = Champion(lambda: now[0])
    (other_model / "composed" / "model.safetensors").write_bytes(b"cut")
    now[0] = places_in(other_model, "version 2")
    champion.refresh()
    assert champion.live.places.version == "version 1"
    assert "model.safetensors" in champion.fault
    with TestClient(create_app(champion)) as client:
        assert client.get("/health").json()["status"] == "stale"
        assert client.post("/search", data={"text": "a cat"}).status_code == 200
    now[0] = places_in(artifacts, "version 1")
    champion.refresh()
    assert champion.fault == ""


def test_a_gpu_without_memory_leaves_the_old_one_answering(search_project):
    def run_out():
        raise torch.OutOfMemoryError("CUDA out of memory")

    champion = Champion(lambda: places_in(search_project / "artifacts", "version 1"))
    champion._locate = run_out
    champion.refresh()
    assert (champion.live.places.version, champion.fault) == ("version 1", "CUDA out of memory")


def test_an_index_that_is_replaced_is_taken_over_and_one_half_there_is_not(artifacts):
    champion = Champion(lambda: places_in(artifacts))
    old = champion.live
    index, away = artifacts / "index", artifacts / "away"
    index.rename(away)
    champion.refresh()
    assert champion.live is old
    assert "there is no index" in champion.fault
    assert old.searcher.answer_all([], PhaseTimer()) == []
    shutil.copytree(away, index)
    (index / "embeddings.npy").write_bytes(b"half")
    champion.refresh()
    assert champion.live is old
    assert "is damaged" in champion.fault
    shutil.rmtree(index)
    away.rename(index)
    (index / "manifest.json").touch()  # as a build does
    champion.refresh()
    assert champion.live is not old
    assert champion.live.searcher.composer is old.searcher.composer
    assert (champion.fault, champion.reloads) == ("", 1)


def test_an_index_of_another_encoder_is_refused_at_the_start_and_later(artifacts):
    manifest = artifacts / "index" / "manifest.json"
    champion = Champion(lambda: places_in(artifacts))
    content = json.loads(manifest.read_text())
    content["encoder"]["picture"]["weights_digest"] = "f" * 64
    manifest.write_text(json.dumps(content))
    champion.refresh()
    assert "ffffffff" in champion.fault
    with pytest.raises(IndexMismatch):
        Champion(lambda: places_in(artifacts))
    shutil.rmtree(artifacts / "composed")
    with pytest.raises(CheckpointMismatch):
        Champion(lambda: places_in(artifacts))


@pytest.fixture
def project(artifacts, search_project, monkeypatch):
    """A project of its own in the current folder, with an empty registry."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    shutil.copy(search_project / "params.yaml", artifacts.parent)
    monkeypatch.chdir(artifacts.parent)
    return artifacts.parent


def _registered(project, artifacts, recall):
    folders = {name: artifacts / name for name in ("composed", "encoder", "index")}
    figures = {"emoji": {"composed": {"recall_at_10": recall}}}
    return register_model(project, ModelCandidate(folders, artifacts / "sampling.json", figures, [])).number


@pytest.mark.filterwarnings("ignore:Operation with range:DeprecationWarning")  # of pandas, in MLflow's own code
def test_an_alias_that_moves_on_and_back_is_followed_without_a_dropped_request(project, artifacts, other_model):
    """As the command does it: a real registry, looked up again and again while queries go on."""
    store = open_store(project)
    numbers = [_registered(project, artifacts, 0.5), _registered(project, other_model, 0.6)]

    def crown(number):
        store.client.set_registered_model_alias(MODEL, "champion", number)

    crown(numbers[0])
    champion = Champion(lambda: places.find_places(CHAMPION, None))
    answers: list[Response] = []
    with TestClient(create_app(champion, refresh_seconds=0.05)) as client, ThreadPoolExecutor(4) as pool:

        def ask(_):
            return client.post("/search", data={"text": "a cat", "reference_id": "twemoji-1F534", "k": 5})

        def ask_until(version):
            end = time.monotonic() + 60
            while not answers or answers[-1].json()["model"] != f"compodiff version {version}":
                assert time.monotonic() < end
                answers.extend(pool.map(ask, range(20)))

        ask_until(1)
        for number in reversed(numbers):
            crown(number)
            ask_until(number)
        assert {answer.status_code for answer in answers} == {200}
        rankings: dict[str, set[tuple[str, ...]]] = {}
        for answer in answers:
            found = tuple(found["picture_id"] for found in answer.json()["results"])
            rankings.setdefault(answer.json()["model"], set()).add(found)
        assert set(rankings) == {"compodiff version 1", "compodiff version 2"}
        assert [len(each) for each in rankings.values()] == [1, 1]  # a version's name and its weights go together
        champion.refresh()
        assert client.get("/health").json()["model"] == "compodiff version 1"


def test_a_version_and_its_folder_belong_together_though_the_alias_moves_between_the_looks(project, monkeypatch):
    looks = iter(["version 1", "version 2", "version 2", "version 2"])
    monkeypatch.setattr(places, "describe_version", lambda _: next(looks))
    assert places.find_places("artifacts", None).version == "version 2"
    assert next(looks, None) is None
