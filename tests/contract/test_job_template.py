"""infra/kubernetes/job-template.json: what Prefect makes of it, and that it fits Prefect's Kubernetes worker.

The worker's own template comes with Prefect's server, which offers it to whoever makes a pool.
"""

import asyncio
import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import yaml
from prefect.client.orchestration import PrefectClient
from prefect.workers.base import BaseJobConfiguration

from compodiff.errors import InputInvalid
from flows.stage_job import DEPLOYMENT, make_job_variables

FOLDER = Path(__file__).parents[2] / "infra" / "kubernetes"
TEMPLATE: dict[str, Any] = json.loads((FOLDER / "job-template.json").read_text())
PROPERTIES: dict[str, dict[str, Any]] = TEMPLATE["variables"]["properties"]
OFFERED = files("prefect.server.api.collections_data.views").joinpath("aggregate-worker-metadata.json").read_text()
OWN: dict[str, Any] = json.loads(OFFERED)["prefect-kubernetes"]["kubernetes"]["default_base_job_configuration"]


class Job(BaseJobConfiguration):
    """What is filled in, as the worker's own class has it."""

    namespace: str
    job_manifest: dict[str, Any]
    pod_watch_timeout_seconds: int
    stream_output: bool


def list_paths(part: Any, at: str = "") -> set[str]:
    """Return the places of a manifest at which something stands."""
    if isinstance(part, dict):
        return {path for name, below in part.items() for path in list_paths(below, f"{at}/{name}")}
    if isinstance(part, list):
        return {path for number, below in enumerate(part) for path in list_paths(below, f"{at}/{number}")}
    return {at}


def fill(**given: Any) -> Job:
    nobody = PrefectClient(api="http://127.0.0.1:1/api")  # asked for nothing, as the template names no blocks
    return asyncio.run(Job.from_template_and_values(TEMPLATE, given, client=nobody))


@pytest.fixture(autouse=True)
def nothing_said(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("COMPODIFF_JOB", "COMPODIFF_PIPELINE"):
        monkeypatch.delenv(name, raising=False)


def test_a_job_has_the_hours_of_the_params_and_time_for_a_checkpoint() -> None:
    job = fill(**make_job_variables(1.5), command="prefect flow-run execute", name="stage")
    spec = job.job_manifest["spec"]
    pod = spec["template"]["spec"]
    assert pod["activeDeadlineSeconds"] == 5400
    assert pod["terminationGracePeriodSeconds"] == 120
    assert (spec["backoffLimit"], pod["restartPolicy"]) == (0, "Never"), (
        "else Prefect does not plan a run anew at SIGTERM"
    )
    assert pod["containers"][0]["args"] == "prefect flow-run execute"
    assert "{{" not in json.dumps(job.job_manifest)


def test_a_job_gets_what_the_environment_gives_it(monkeypatch: pytest.MonkeyPatch) -> None:
    given = {"gpus": 2, "memory": "64Gi", "cpus": "16", "image": "ours:1.0.0", "env": {"NCCL_DEBUG": "INFO"}}
    monkeypatch.setenv("COMPODIFF_JOB", json.dumps(given))
    monkeypatch.setenv("COMPODIFF_PIPELINE", "a-run")
    job = fill(**make_job_variables(1))
    (container,) = job.job_manifest["spec"]["template"]["spec"]["containers"]
    assert container["image"] == "ours:1.0.0"
    limits, requests = ({"nvidia.com/gpu": 2, "memory": "64Gi"}, {"cpu": "16", "memory": "64Gi"})
    assert container["resources"] == {"limits": limits, "requests": requests}
    assert job.env["NCCL_DEBUG"] == "INFO"
    assert job.env["COMPODIFF_PIPELINE"] == "a-run"
    assert job.env["OMP_NUM_THREADS"] == "8", "what the template gives stays"
    assert {*given} <= {*PROPERTIES}


@pytest.mark.parametrize("text", ["gpus=2", "[8]", "8"])
def test_parameters_of_another_form_are_one_line(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("COMPODIFF_JOB", text)
    with pytest.raises(InputInvalid, match=r"COMPODIFF_JOB is no JSON object with variables of job-template\.json"):
        make_job_variables(1)


def test_the_template_holds_all_that_the_workers_own_needs_and_names_its_variables_alike() -> None:
    ours, theirs = TEMPLATE["job_configuration"], OWN["job_configuration"]
    assert {*ours} <= {*theirs}
    of_both = list_paths(ours["job_manifest"])
    optional = ("/serviceAccountName", "/resources/limits/cpu")
    assert {path for path in list_paths(theirs["job_manifest"]) - of_both if not path.endswith(optional)} == set()
    for name in PROPERTIES.keys() & OWN["variables"]["properties"].keys():
        their = OWN["variables"]["properties"][name]
        types = {each.get("type") for each in their.get("anyOf", [their])}
        assert PROPERTIES[name]["type"] in types, name


def test_the_deployment_is_the_one_that_stages_ask_for_in_the_pool_that_the_worker_serves() -> None:
    (deployment,) = yaml.safe_load((FOLDER / "stage.yaml").read_text())["deployments"]
    worker = yaml.safe_load((FOLDER / "prefect-jobs.yaml").read_text())["worker"]
    assert f"stage/{deployment['name']}" == DEPLOYMENT
    assert deployment["entrypoint"] == "flows.stage_job.run_stage_job"
    assert deployment["work_pool"]["name"] == worker["config"]["workPool"]
    assert worker["config"]["type"] == "kubernetes"
    server = yaml.safe_load((FOLDER / "prefect-server.yaml").read_text())["global"]["prefect"]["image"]
    assert worker["image"] == server | {"prefectTag": f"{server['prefectTag']}-kubernetes"}
