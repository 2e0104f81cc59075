"""From the command to the first answer of the version before: of a server that runs, and of a search that is new."""

import json
import shutil
import subprocess
import time
from pathlib import Path

import httpx
import pytest
from worlds.operated import BIN, environment, wait_until

from compodiff.index.index import Index
from compodiff.params import load_params
from compodiff.speed.serving import run_server
from compodiff.tracking.promotion import promote
from compodiff.tracking.registry import ModelCandidate, register_model

pytestmark = pytest.mark.filterwarnings("ignore:Operation with range")  # MLflow's use of pandas


@pytest.fixture
def project(search_project: Path, tmp_path: Path) -> Path:
    """Two versions of a real model, the second champion, the first before it."""
    project = shutil.copytree(search_project, tmp_path / "project")
    params = load_params(project / "params.yaml")
    folders = {name: project / "artifacts" / name for name in ("composed", "encoder", "index")}
    for recall in (0.8, 0.95):
        interval = [recall - 0.05, recall + 0.05]
        measured = {"composed": {"recall_at_10": recall, "intervals": {"recall_at_10": interval}, "relations": {}}}
        figures = {"emoji": measured, "scenes": measured}
        register_model(project, ModelCandidate(folders, project / "artifacts" / "sampling.json", figures, []))
        promote(project, params.gates, min_relation_queries=1)
    return project


def test_a_rollback_reaches_a_running_server_and_a_new_search_within_five_seconds(project: Path) -> None:
    index = Index.load(project / "artifacts" / "index")
    asked = {"reference_id": index.picture_ids[0], "text": "in blue", "k": "1"}

    def answered_by(address: str) -> str:
        return str(httpx.post(f"{address}/search", data=asked, timeout=30).raise_for_status().json()["model"])

    with run_server(project, []) as (address, _):
        assert answered_by(address) == "compodiff version 2"
        done = subprocess.run(
            [BIN / "compodiff", "rollback", "--reason", "a test"],
            cwd=project,
            env=environment(project),
            capture_output=True,
            text=True,
            check=True,
        )
        ordered = time.monotonic()
        assert done.stdout == "version 1 is champion again, instead of 2\n"
        wait_until(lambda: answered_by(address) == "compodiff version 1", 30)
        seconds = time.monotonic() - ordered
    print(f"\na running server answers by the version before {seconds:.1f} s after the rollback")  # noqa: T201
    assert seconds < 5
    searched = subprocess.run(
        [BIN / "compodiff", "search", "--json", "--reference", index.picture_ids[0], "--text", "in blue"],
        cwd=project,
        env=environment(project),
        capture_output=True,
        text=True,
        check=True,
    )
    answer = json.loads(searched.stdout)
    assert answer["query"]["model"] == "models:/compodiff@champion"
    first = sorted((project / "mlruns" / "artifacts" / "models").iterdir(), key=lambda path: path.stat().st_ctime)[0]
    assert Path(answer["index"]).is_relative_to(first)
