"""Everything through the servers: the commands of a laptop on a project of 168 pictures, and only variables changed."""

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from worlds.processes import BIN, ROOT, Server, Team, environment, s3_client_variables

pytestmark = pytest.mark.slow

TINY: dict[str, dict[str, Any]] = {
    "validation": {"max_rejected_fraction": 0.99},
    "denoiser": {"width": 64, "depth": 1, "heads": 2, "cross_heads": 2, "head_width": 32, "feed_forward_factor": 2},
    "promotion": {"behaviour": None},
    "evaluation": {"bootstrap_draws": 20, "text_weights": [0.5], "product_offsets": [0.0], "min_relation_queries": 5},
}
TRAINING = {"batch_size": 16, "steps": 4, "warmup_steps": 1, "validate_every": 2,
            "checkpoint_every": 2, "contrastive_negatives": 8}  # fmt: skip


def tiny_params() -> dict[str, Any]:
    params: dict[str, Any] = yaml.safe_load((ROOT / "params.yaml").read_text())
    for section, changes in (*TINY.items(), ("prior", TRAINING), ("composed", TRAINING)):
        params[section] |= changes
    params["encoder"]["embedded"] |= {
        "image_size": 64,
        "steps": 4,
        "batch_size": 16,
        "components": 16,
        "warmup_steps": 1,
    }
    params["encoder"]["embedded"]["classes"]["vocabulary"] = "imagenet-1k"  # a tenth of the texts that the towers read
    gate = {"figure": "recall_at_10", "floor": 0.0, "margin": 0.0, "max_relation_drop": 1.0, "max_plausible_loss": 1.0}
    params["benchmarks"]["emoji"] |= {"max_queries_per_relation": 20, "gate": gate}
    params["benchmarks"]["scenes"] |= {"families": {"validation": 2, "test": 4}, "edits_per_relation": 1, "gate": None}
    for own in params["sets"].values():
        own |= {"min_rows": 10, "floors": None}
    return params


class Checkout:
    """A clone of the project and the variables that name its team's servers."""

    def __init__(self, folder: Path, variables: dict[str, str]) -> None:
        self.folder = folder
        own = {"PYTHONPATH": f"{folder}:{folder / 'src'}", "PREFECT_HOME": str(folder / ".prefect")}
        site = {"DVC_SITE_CACHE_DIR": str(folder.with_suffix(".site")), "HF_HUB_OFFLINE": "1"}
        self.env = environment(**variables, **own, **site)

    def run(self, *command: str | Path) -> str:
        done = subprocess.run(command, cwd=self.folder, env=self.env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
        return done.stdout

    def dvc(self, *arguments: str) -> str:
        return self.run(sys.executable, "-m", "dvc", *arguments)

    def git(self, *arguments: str) -> str:
        return self.run("git", "-c", "user.name=t", "-c", "user.email=t@example.org", *arguments)

    def use_remote(self) -> None:
        self.dvc("remote", "add", "--quiet", "--local", "--default", "team", "s3://dvc/whole")
        self.dvc("remote", "modify", "--quiet", "--local", "team", "verify", "true")


@pytest.fixture
def checkout(tmp_path: Path, small_data: Path, team: Team, prefect_variables: dict[str, str], s3: Server) -> Checkout:
    folder = tmp_path / "project"
    leave_out = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for name in ("src", "flows"):
        shutil.copytree(ROOT / name, folder / name, ignore=leave_out)
    for name in ("dvc.yaml", ".dvcignore", ".gitignore"):
        shutil.copy(ROOT / name, folder)
    shutil.copytree(small_data, folder / "data")
    (folder / "params.yaml").write_text(yaml.safe_dump(tiny_params(), sort_keys=False))
    made = Checkout(folder, {**team.variables, **prefect_variables, **s3_client_variables(s3)})
    made.git("init", "--quiet")
    made.dvc("init", "--quiet")
    made.dvc("config", "core.analytics", "false")
    made.dvc("add", "--quiet", "data")
    made.git("add", ".")
    made.git("commit", "--quiet", "--message", "A tiny project")
    made.use_remote()
    return made


def best(checkout: Checkout, query: Sequence[str]) -> list[str]:
    said = checkout.run(BIN / "compodiff", "search", *query, "--json")
    return [hit["id"] if "id" in hit else hit["picture_id"] for hit in json.loads(said)["results"]]


@pytest.mark.timeout(1500)
def test_run_push_clone_pull_and_experiment(checkout: Checkout) -> None:
    shown = checkout.run(sys.executable, "-m", "flows.pipeline")
    assert "register" in shown
    assert not (checkout.folder / "mlruns" / "mlflow.db").exists()
    assert json.loads((checkout.folder / "artifacts" / "registration.json").read_text())["model"] == "compodiff"
    checkout.dvc("push", "--quiet")
    checkout.git("add", ".")
    checkout.git("commit", "--quiet", "--message", "Run it")

    second = Checkout(checkout.folder.parent / "second", {})
    checkout.git("clone", "--quiet", str(checkout.folder), str(second.folder))
    second.env = {**checkout.env, **{name: second.env[name] for name in ("PYTHONPATH", "PREFECT_HOME")},
                  "DVC_SITE_CACHE_DIR": second.env["DVC_SITE_CACHE_DIR"]}  # fmt: skip
    second.use_remote()
    second.dvc("pull", "--quiet")
    assert "Running stage" not in second.dvc("repro")
    assert second.git("status", "--porcelain") == ""
    query = ("--reference", "👩‍🍳", "--text", "with dark skin")
    assert best(second, query) == best(checkout, query)

    second.dvc("exp", "run", "--quiet", "--name", "longer", "--set-param", "composed.steps=6")
    assert "composed.steps" in second.dvc("params", "diff")
    assert "recall_at_10" in second.dvc("metrics", "diff", "--all")
    assert "longer" in second.dvc("exp", "list")
