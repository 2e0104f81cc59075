"""infra/prefect.yaml on a real Prefect server and worker: scheduled runs come by themselves, every deployment runs."""

import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest
import yaml
from PIL import Image
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.schedules import CronSchedule
from worlds.operated import Operation, make_project, operated, wait_until

DEPLOYMENTS = {
    "dataset/nightly", "training/weekly", "champion/daily", "index-refresh/watch", "evaluation/on-demand",
    "promotion/on-demand", "rollback/on-demand", "pipeline/on-demand", "drift/drift",
}  # fmt: skip


class Inbox(HTTPServer):
    """A webhook on loopback that keeps what is posted to it."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Posted)
        self.received: list[str] = []


class _Posted(BaseHTTPRequestHandler):
    server: Inbox

    def do_POST(self) -> None:
        self.server.received.append(self.rfile.read(int(self.headers["Content-Length"])).decode())
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def inbox() -> Iterator[Inbox]:
    with Inbox() as inbox:
        Thread(target=inbox.serve_forever, daemon=True).start()
        yield inbox
        inbox.shutdown()


@pytest.fixture(scope="module")
def operation(tmp_path_factory: pytest.TempPathFactory, small_data: Path, inbox: Inbox) -> Iterator[Operation]:
    project = make_project(tmp_path_factory.mktemp("operated") / "project", small_data)
    with operated(project, COMPODIFF_NOTIFY="custom-webhook/team") as operation:
        operation.deploy()
        block = project / "block.py"
        block.write_text(
            "from prefect.blocks.notifications import CustomWebhookNotificationBlock as Webhook\n"
            f"Webhook(name='team', url='http://127.0.0.1:{inbox.server_port}',"
            " json_data={'text': '{{subject}}: {{body}}'}).save('team')\n"
        )
        subprocess.run([sys.executable, block], env=operation.settings, check=True, cwd=project)
        yield operation


def artifacts(operation: Operation, run: FlowRun) -> dict[str, str]:
    with operation.client as client:
        return {each.key or "": str(each.data) for each in client.read_artifacts() if each.flow_run_id == run.id}


def test_a_scheduled_run_comes_by_itself_and_finishes(operation: Operation, inbox: Inbox) -> None:
    """The watched folder, each minute by the clock; it is empty yet, of which people are told."""
    (operation.project / "pictures").mkdir()
    with operation.client as client:
        assert {name for name in DEPLOYMENTS if client.read_deployment_by_name(name)} == DEPLOYMENTS
        watch = client.read_deployment_by_name("index-refresh/watch")
        every_minute = CronSchedule(cron="* * * * *", timezone="Europe/Paris")
        (schedule,) = client.create_deployment_schedules(watch.id, [(every_minute, True)])
    operation.start_worker()

    def ended() -> list[FlowRun]:
        with operation.client as client:
            runs = client.read_flow_runs()
        return [run for run in runs if run.auto_scheduled and run.start_time and run.state and run.state.is_final()]

    wait_until(lambda: bool(ended()), seconds=200)
    with operation.client as client:
        client.delete_deployment_schedule(watch.id, schedule.id)
    run = ended()[0]
    assert run.deployment_id == watch.id
    assert run.expected_start_time is not None
    assert run.start_time is not None
    lag = run.start_time - run.expected_start_time
    print(f"\nlag of the scheduled run: {lag.total_seconds():.1f} s")  # noqa: T201
    assert abs(lag) < timedelta(seconds=60)  # a worker may be early by less than a second
    assert run.name == "refresh the index of pictures, thorough=False"
    assert run.state_name == "Failed"  # there is no champion and no picture yet
    wait_until(lambda: bool(inbox.received))
    assert "CompoDiff: index-refresh failed" in inbox.received[0]


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_every_deployment_completes_by_hand(operation: Operation, inbox: Inbox) -> None:
    """In the order of a first week, each with the pipeline's own stages."""
    if not operation.workers:
        operation.start_worker()
    project = operation.project
    for name, colour in (("red", "red"), ("blue", "blue")):
        (project / "pictures").mkdir(exist_ok=True)
        Image.new("RGB", (64, 64), colour).save(project / "pictures" / f"{name}.png")
    assert _completed(operation.run("dataset/nightly"))
    assert _completed(operation.run("evaluation/on-demand"))
    trained = operation.run("training/weekly")
    assert _completed(trained)
    assert trained.name == "train, evaluate, register and promote, force=False"
    found = artifacts(operation, trained)
    assert {"stages", "progress", "figures-emoji", "links", "promotion"} <= found.keys()
    assert found["progress"] == "100"
    assert "composed" in found["figures-emoji"]
    assert "artifacts/reports/emoji/report.html" in found["links"]
    assert any("promoted: version 1" in word for word in inbox.received)
    assert _completed(operation.run("champion/daily"))
    assert _completed(operation.run("index-refresh/watch"))
    assert _completed(operation.run("promotion/on-demand"))
    assert_drift_asks_for_a_training(operation, inbox)

    params = yaml.safe_load((project / "params.yaml").read_text())
    params["composed"]["seed"] += 1
    params["benchmarks"]["emoji"]["gate"] |= {"margin": 0.0, "max_relation_drop": 1.0, "max_plausible_loss": 1.0}
    (project / "params.yaml").write_text(yaml.safe_dump(params))
    assert _completed(operation.run("pipeline/on-demand"))
    decided = [word for word in inbox.received if "version 2" in word]
    assert decided
    if "promoted: version 2" in decided[-1]:  # a refusal says "not promoted"
        assert _completed(operation.run("rollback/on-demand", reason="a test"))
        assert any("rolled back: version 1" in word for word in inbox.received)


# As `compodiff serve --keep-queries` keeps them, all about one picture.
KEEP_QUERIES = """
from pathlib import Path
from compodiff import Searcher
from compodiff.drift.reservoir import QueryReservoir
searcher, kept = Searcher.load("models:/compodiff@champion"), QueryReservoir(Path("queries.npz"))
found = searcher.search(searcher.index.picture_ids[0], "in blue", k=1)
for _ in range(120):
    kept.note("compodiff version 1", found.embedding, found.reference, 0, 0)
kept.save()
"""


def assert_drift_asks_for_a_training(operation: Operation, inbox: Inbox) -> None:
    subprocess.run([sys.executable, "-c", KEEP_QUERIES], env=operation.settings, check=True, cwd=operation.project)
    run = operation.run("drift/drift", retrain=True)
    assert _completed(run)
    assert run.state is not None
    assert str(run.state.message).endswith("; training/weekly was asked for")
    assert any("live queries drifted" in word for word in inbox.received)
    assert "answers lie" in artifacts(operation, run)["drift"]
    assert (operation.project / "artifacts" / "drift" / "report.html").is_file()
    with operation.client as client:
        training = client.read_deployment_by_name("training/weekly").id
        runs = [each for each in client.read_flow_runs() if each.deployment_id == training]
    asked = [each.id for each in runs if not each.auto_scheduled]  # by hand and by drift; the schedule plans more
    assert len(asked) == 2
    assert all(_completed(operation.ended(each)) for each in asked)


def _completed(run: FlowRun) -> bool:
    assert run.state is not None
    assert run.state.is_completed(), run.state.message
    return True
