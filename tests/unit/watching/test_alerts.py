"""The alerts: of the flows and servers that there are, and each goes off where it should and nowhere else."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any, cast

import pytest
import yaml

from compodiff.serving.api import create_app
from compodiff.serving.champion import Champion

ROOT = Path(__file__).parents[3]
RULES = ROOT / "infra" / "prometheus" / "alerts.yaml"
CASES = Path(__file__).with_name("alerts.yaml")
ALERTS: dict[str, dict[str, Any]] = {
    rule["alert"]: rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]
}


@pytest.mark.parametrize("alerts", [["ScheduleDidNotRun"], ["ScheduleNeverRan", "TrainingNeverRan"]])
def test_alerts_on_schedules_name_the_flows_whose_schedule_is_on(alerts: list[str]) -> None:
    text = " ".join(ALERTS[name]["expr"] for name in alerts)
    named = [flow for names in re.findall(r'flow=~?"([a-z|-]+)"', text) for flow in names.split("|")]
    deployments = yaml.safe_load((ROOT / "infra" / "prefect.yaml").read_text())["deployments"]
    active = [
        each["entrypoint"].split(".")[1]
        for each in deployments
        if any(schedule["active"] for schedule in each.get("schedules", []))
    ]
    assert sorted(named) == sorted(active)


def test_alerts_name_the_jobs_that_prometheus_asks() -> None:
    config = yaml.safe_load(RULES.with_name("prometheus.yaml").read_text())
    named = {job for rule in ALERTS.values() for job in re.findall(r'job="([^"]+)"', rule["expr"])}
    assert named == {each["job_name"] for each in config["scrape_configs"]}


def test_the_alert_on_failed_queries_names_every_route_that_asks_the_model() -> None:
    routes = create_app(cast(Champion, None)).openapi()["paths"]  # which are those that may have to wait, by 429
    asks = {path for path, methods in routes.items() for each in methods.values() if "429" in each["responses"]}
    named = {
        route for names in re.findall(r'route=~"([^"]+)"', ALERTS["QueriesFail"]["expr"]) for route in names.split("|")
    }
    assert named == asks


def test_each_alert_has_a_case_in_which_it_goes_off_and_one_in_which_it_does_not() -> None:
    tried = {
        (case["alertname"], bool(case.get("exp_alerts")))
        for test in yaml.safe_load(CASES.read_text())["tests"]
        for case in test["alert_rule_test"]
    }
    assert tried == {(name, goes_off) for name in ALERTS for goes_off in (True, False)}


@pytest.mark.skipif(not shutil.which("promtool"), reason="promtool (Debian's package prometheus) is not on the PATH")
@pytest.mark.parametrize(("what", "file"), [("check", RULES), ("test", CASES)], ids=["check", "test"])
def test_prometheus_reads_the_rules_and_each_case_comes_out(what: str, file: Path) -> None:
    done = subprocess.run(["promtool", what, "rules", file], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
