"""infra/prefect.yaml names flows that exist, with parameters that they take, limits, time-outs and word of failure."""

import importlib
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import yaml
from prefect import Flow
from prefect.exceptions import ParameterTypeError

from flows import index_refresh
from flows.index_refresh import refresh_index
from flows.notices import note_success, tell_failure
from flows.promotion import run_rollback

ROOT = Path(__file__).parents[2]
DEPLOYMENTS: list[dict[str, Any]] = yaml.safe_load((ROOT / "infra" / "prefect.yaml").read_text())["deployments"]


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=lambda deployment: deployment["entrypoint"])
def test_a_deployment_runs_a_flow_that_exists(deployment: dict[str, Any]) -> None:
    module, _, name = deployment["entrypoint"].rpartition(".")
    flow = getattr(importlib.import_module(module), name)
    assert isinstance(flow, Flow)
    needed = {"reason": "a test"} if flow is run_rollback else {}
    flow.validate_parameters(deployment.get("parameters", needed))
    assert flow.timeout_seconds
    assert flow.flow_run_name not in (None, flow.name)
    assert flow.on_completion_hooks == [note_success]
    assert flow.on_failure_hooks == flow.on_crashed_hooks == [tell_failure]
    assert deployment["concurrency_limit"] == {"limit": 1, "collision_strategy": "ENQUEUE"}
    assert "compodiff" in deployment["tags"]
    for schedule in deployment.get("schedules", []):
        ZoneInfo(schedule["timezone"])


@pytest.mark.parametrize(
    "parameters",
    [{"folder": "pictures", "thorough": "perhaps"}, {"folder": "pictures", "limit_seconds": 0}, {"folder": None}],
)
def test_parameters_of_other_types_or_out_of_range_are_refused(parameters: dict[str, Any]) -> None:
    with pytest.raises(ParameterTypeError):
        refresh_index.validate_parameters(parameters)


@pytest.mark.parametrize(("thorough", "run"), [(True, ["build", "--checksum"]), (False, ["add", "remove"])])
def test_a_thorough_refresh_reads_every_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, thorough: bool, run: list[str]
) -> None:
    said: list[str] = []

    def note(_: str, command: list[str], **_more: object) -> str:
        said.extend(word for word in command if word in ("build", "add", "remove", "--checksum"))
        return "done"

    for name, stand_in in (("begin_run", lambda: None), ("run_compodiff", note)):
        monkeypatch.setattr(index_refresh, name, stand_in)
    monkeypatch.setattr(index_refresh, "create_markdown_artifact", lambda *_, **_more: None)
    refresh_index.fn(tmp_path, out=tmp_path, thorough=thorough)
    assert said == run


def test_every_flow_can_be_deployed() -> None:
    deployed = {deployment["entrypoint"].split(".", 1)[1] for deployment in DEPLOYMENTS}
    assert deployed == {
        "dataset.make_dataset",
        "training.train_models",
        "champion.score_champion",
        "drift.look_for_drift",
        "index_refresh.refresh_index",
        "evaluation.evaluate_models",
        "promotion.run_promotion",
        "promotion.run_rollback",
        "pipeline.run_pipeline",
    }
