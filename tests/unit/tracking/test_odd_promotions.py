"""Promotion and rollback where files are gone, another pipeline registers in between, or a clock is wrong."""

import json
import shutil
import time
from datetime import datetime, timedelta, tzinfo
from pathlib import Path

import pytest
import yaml
from factories import make_benchmark_gate
from worlds.promotions import ENOUGH, GATES, aliases, decide, decisions, register

from compodiff.errors import InputInvalid, PromotionRefused
from compodiff.tracking import promotion
from compodiff.tracking.promotion import ChampionChange, promote, roll_back
from compodiff.tracking.registry import CHALLENGER, CHAMPION, MODEL, PREVIOUS
from compodiff.tracking.store import open_store

ROOT = Path(__file__).parents[3]


def delete_files(project: Path, number: str) -> None:
    shutil.rmtree(open_store(project).client.get_model_version(MODEL, number).source)


def test_a_version_whose_files_are_gone_becomes_champion_neither_by_rollback_nor_by_promotion(project: Path) -> None:
    for recall in (0.5, 0.6):
        register(project, recall)
        decide(project)
    delete_files(project, "1")
    said = r"the files of compodiff version 1 are gone \(.*\); bring them back from a backup, or register another: make"
    with pytest.raises(InputInvalid, match=said):
        roll_back(project)
    assert aliases(project) == {CHAMPION: "2", PREVIOUS: "1"}
    assert len(decisions(project)) == 2
    delete_files(project, register(project, 0.7))
    asked = list[object]()
    with pytest.raises(PromotionRefused, match="is not promoted: the files of compodiff version 3 are gone"):
        promote(project, GATES, min_relation_queries=ENOUGH, examine=lambda *them: asked.extend(them) or [])
    assert aliases(project) == {CHAMPION: "2", PREVIOUS: "1"}
    assert asked == []  # it could not answer
    register(project, 0.8)
    delete_files(project, "2")
    assert decide(project) == ChampionChange("2", "4"), "a champion whose files are gone can be replaced"


def test_two_pipelines_on_one_registry_each_judge_the_version_that_they_registered(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two commits, whose gates differ: each registers, and the other does so before the gate is asked."""
    from flows import promotion as flow

    store, promote_in = open_store(project), promotion.promote
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store.uri)
    recalls, floors = {"strict": 0.9, "mild": 0.5}, {"strict": 0.95, "mild": 0.4}
    numbers = {name: register(project, recall) for name, recall in recalls.items()}
    params = yaml.safe_load((ROOT / "params.yaml").read_text()) | {"promotion": {"behaviour": None}}
    for name, number in numbers.items():
        (tmp_path / name / "artifacts").mkdir(parents=True)
        (tmp_path / name / "params.yaml").write_text(yaml.safe_dump(params))
        written = {"version": number, "run_id": store.client.get_model_version(MODEL, number).run_id}
        (tmp_path / name / "artifacts" / "registration.json").write_text(json.dumps(written))

    def promote_by_floor(checkout: Path, _: object, *, number: str | None, **_others: object) -> ChampionChange:
        gates = {"emoji": make_benchmark_gate(floor=floors[checkout.name])}
        return promote_in(checkout, gates, min_relation_queries=ENOUGH, number=number)

    def promote_after_the_other(number: str, **_: object) -> object:
        (other,) = {*numbers.values()} - {number}
        store.client.set_registered_model_alias(MODEL, CHALLENGER, other)
        return promote_challenger(number)

    promote_challenger = flow.promote_challenger.fn
    monkeypatch.setattr(promotion, "promote", promote_by_floor)
    monkeypatch.setattr(flow, "promote_challenger", promote_after_the_other)
    monkeypatch.setattr(flow, "_make_known", lambda *_: None)  # which takes Prefect
    outcomes = {}
    for name in numbers:
        monkeypatch.chdir(tmp_path / name)
        (outcomes[name],) = flow.promote_registered()
    assert {name: each.outcome for name, each in outcomes.items()} == {"strict": "refused", "mild": "promoted"}
    assert "version 1 of compodiff is not promoted: emoji/composed/recall_at_10" in outcomes["strict"].reason
    assert aliases(project) == {CHAMPION: numbers["mild"], PREVIOUS: None}


@pytest.mark.timeout(120)  # decisions that are told apart by their times end in none
def test_a_clock_an_hour_behind_is_no_matter_to_the_order_of_decisions(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of another machine: our own times and those that MLflow writes."""
    for recall in (0.5, 0.6):
        register(project, recall)
        decide(project)
    now = time.time

    class Behind(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
            return datetime.now(tz) - timedelta(hours=1)

    with monkeypatch.context() as behind:
        behind.setattr(time, "time", lambda: now() - 3600)
        behind.setattr(promotion, "datetime", Behind)
        assert roll_back(project) == ChampionChange("2", "1")
        register(project, 0.7)
        assert decide(project) == ChampionChange("1", "3")
    _, before, back, again = decisions(project)
    assert datetime.fromisoformat(again.tags["at"]) < datetime.fromisoformat(before.tags["at"])
    assert back.creation_timestamp <= again.creation_timestamp < before.creation_timestamp - 3_000_000
    assert aliases(project) == {CHAMPION: "3", PREVIOUS: "1"}
    assert roll_back(project) == ChampionChange("3", "1")
    assert aliases(project) == {CHAMPION: "1", PREVIOUS: "3"}
