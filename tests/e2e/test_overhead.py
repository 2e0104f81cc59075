"""What Prefect and DVC cost a stage: stages that do nothing but write a file, so that all the time is theirs."""

import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from worlds.operated import BIN, ROOT, environment

pytestmark = pytest.mark.slow

STAGES = 10
FLOW = """
import time
from prefect import flow
from flows.graph import TWO_AT_ONCE, conclude, run_graph

@flow(name="whole", task_runner=TWO_AT_ONCE)
def whole():
    started = time.perf_counter()
    outcomes = run_graph([], force=False, limit_seconds=120)
    print("seconds in the flow:", time.perf_counter() - started)
    return conclude(outcomes)

whole()
"""


def test_prefect_and_dvc_cost_at_most_three_seconds_a_stage(tmp_path: Path) -> None:
    """As `make run` starts them: with the server that Prefect starts for itself, and one DVC process a stage."""
    shutil.copytree(ROOT / "flows", tmp_path / "flows", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "0").write_text("nothing\n")
    chain = {
        f"stage{number}": {"cmd": f"cp {needed} made{number}", "deps": [needed], "outs": [f"made{number}"]}
        for number, needed in enumerate(["data/0", *(f"made{number}" for number in range(STAGES - 1))])
    }
    (tmp_path / "dvc.yaml").write_text(yaml.safe_dump({"stages": chain}))
    for command in (["init", "--no-scm"], ["add", "data"]):
        subprocess.run([BIN / "dvc", *command, "--quiet"], cwd=tmp_path, check=True, env=environment(tmp_path))
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", FLOW],
        cwd=tmp_path,
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        check=True,
    )
    whole = time.perf_counter() - started
    inside = float(done.stdout.split("seconds in the flow:")[1].split()[0])
    print(f"\n{inside / STAGES:.2f} s a stage in the flow, {whole / STAGES:.2f} s with starting Prefect")  # noqa: T201
    assert (tmp_path / f"made{STAGES - 1}").read_text() == "nothing\n"
    assert whole / STAGES < 3
