"""Training for real, in a small world: it learns, survives kill -9 with identical losses, and divides its work."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from worlds import training as training_world
from worlds.training import in_process, losses, train_in, train_until

from compodiff.errors import (
    CompoDiffError,
    ParamsInvalid,
    ProcessFailed,
    ResourceUnavailable,
    TrainingStopped,
)
from compodiff.execution import training_processes
from compodiff.execution.training_processes import train_together
from compodiff.model.checkpoint import load_model

TESTS = Path(__file__).parents[1]
CHANCE = 10 / 300  # ten of the gallery's pictures


@pytest.mark.parametrize("objective", ["diffusion", "regression", "flow_matching"])
def test_learns_to_compose_for_unseen_shapes(world: Path, objective: str) -> None:
    curve = train_in(world, "model", {"objective": objective, "steps": 80, "validate_every": 20})
    assert curve["loss"].is_monotonic_decreasing or curve["loss"].iloc[-1] < 0.5 * curve["loss"].iloc[0]
    assert curve["recall_at_10"].iloc[-1] > 5 * CHANCE
    assert curve["cosine"].iloc[-1] > curve["cosine"].iloc[0]
    denoiser, card = load_model(world / "model")
    assert card.process.objective == objective
    assert denoiser.config == training_world.NETWORK
    assert not (world / "model.partial").exists()


def _train_until_half_of_a_checkpoint(world: Path, out: str) -> None:
    """Train, and die by SIGKILL when the second checkpoint's file is half written."""
    whole_save = torch.save
    saves = iter(range(10))

    def save(content: Any, path: Any, *arguments: Any, **keywords: Any) -> None:
        whole_save(content, path, *arguments, **keywords)
        if next(saves) == 1:
            os.truncate(path, os.path.getsize(path) // 2)
            os.kill(os.getpid(), signal.SIGKILL)

    torch.save = save
    train_in(world, out)


def _train_until_before_the_marker(world: Path, out: str) -> None:
    """Train, and die by SIGKILL when the second checkpoint is written but not yet marked as whole."""
    rename = Path.replace
    renames = iter(range(10))

    def replace(self: Path, target: Path) -> Path:
        if Path(target).name == "latest.json" and next(renames) == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return rename(self, target)

    Path.replace = replace  # type: ignore[method-assign]
    train_in(world, out)


@pytest.mark.parametrize(
    ("death", "steps_kept"),
    [
        (lambda context, world: in_process(context, train_until, 2, world, "killed"), 0),
        (lambda context, world: in_process(context, train_until, 5, world, "killed"), 3),
        (lambda context, world: in_process(context, _train_until_half_of_a_checkpoint, world, "killed"), 3),
        (lambda context, world: in_process(context, _train_until_before_the_marker, world, "killed"), 3),
    ],
    ids=["before-the-first-checkpoint", "between-checkpoints", "half-a-checkpoint", "before-the-marker"],
)
def test_a_killed_run_goes_on_with_identical_losses(
    world: Path, processes: ForkServerContext, death: Callable[[ForkServerContext, Path], int], steps_kept: int
) -> None:
    assert death(processes, world) == -signal.SIGKILL
    assert not (world / "killed").exists()
    marker = world / "killed.partial" / "latest.json"
    assert (json.loads(marker.read_text())["tag"] if marker.exists() else "step-0") == f"step-{steps_kept}"
    resumed = train_in(world, "killed")
    straight = train_in(world, "straight")
    assert losses(resumed) == losses(straight)
    weights, expected = (load_file(world / out / "model.safetensors") for out in ("killed", "straight"))
    assert all(torch.equal(weights[name], expected[name]) for name in expected)


def test_so_does_a_sharded_one_in_bfloat16(world: Path, processes: ForkServerContext) -> None:
    changes = {"zero_stage": 2, "precision": "bfloat16", "accumulation_steps": 2, "noise_draws": 2}
    assert in_process(processes, train_until, 5, world, "killed", changes) == -signal.SIGKILL
    assert losses(train_in(world, "killed", changes)) == losses(train_in(world, "straight", changes))


def test_it_goes_on_with_other_accumulation_and_more_steps(world: Path, processes: ForkServerContext) -> None:
    """Steps are no part of what decides a loss where the learning rate does not depend on them."""
    constant = {"learning_rate_schedule": "constant"}
    assert in_process(processes, train_until, 5, world, "killed", constant) == -signal.SIGKILL
    longer = constant | {"steps": training_world.PARAMS.steps + 2}
    straight = train_in(world, "straight", longer)
    resumed = train_in(world, "killed", longer | {"accumulation_steps": 2})
    assert resumed["step"].tolist() == straight["step"].tolist()
    assert resumed["loss"].to_numpy() == pytest.approx(straight["loss"], rel=1e-5)


def test_it_goes_on_in_two_processes_and_after_one_of_them_is_killed(
    world: Path, processes: ForkServerContext, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert in_process(processes, train_until, 5, world, "killed") == -signal.SIGKILL
    straight = train_in(world, "straight")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    train_together(["-m", "worlds.training", str(world), "killed", "{}", "7"], TESTS, count=2)
    assert "killed by signal 9; all go on from the last checkpoint, and 2 times more" in capfd.readouterr().err
    resumed = pd.read_csv(world / "killed.csv")
    assert resumed["step"].tolist() == straight["step"].tolist()
    assert resumed["loss"].to_numpy() == pytest.approx(straight["loss"], rel=1e-5)
    assert not (world / "killed.partial").exists()


def _train_until_told_to_stop(step: int, world: Path, out: str) -> None:
    """Train, and get SIGTERM once the curve has reached `step`; end with the code of the error that comes of it."""
    try:
        train_in(world, out, on_metrics=lambda at, _: os.kill(os.getpid(), signal.SIGTERM) if at == step else None)
    except TrainingStopped as stopped:
        sys.exit(stopped.exit_code if f"told to stop at step {step} of" in str(stopped) else 1)


def test_one_that_is_told_to_stop_keeps_its_last_step_and_says_so_by_its_exit_code(
    world: Path, processes: ForkServerContext
) -> None:
    assert in_process(processes, _train_until_told_to_stop, 5, world, "stopped") == TrainingStopped.exit_code
    assert json.loads((world / "stopped.partial" / "latest.json").read_text())["tag"] == "step-5"
    assert losses(train_in(world, "stopped")) == losses(train_in(world, "straight"))


@pytest.mark.slow
def test_two_processes_that_are_told_to_stop_end_after_the_same_step(world: Path) -> None:
    """As Slurm tells the launcher, which tells both."""
    long = {"steps": 400, "validate_every": 10, "checkpoint_every": 1000}
    code = "import sys; from pathlib import Path; from compodiff.execution.training_processes import train_together; "
    code += f"train_together(['-m', 'worlds.training', {str(world)!r}, 'stopped', {json.dumps(long)!r}], Path('.'), 2)"
    launcher = subprocess.Popen([sys.executable, "-c", code], cwd=TESTS, stderr=subprocess.PIPE, text=True)
    while not (world / "stopped.csv").exists():
        assert launcher.poll() is None
    launcher.terminate()
    said = launcher.communicate()[1]
    assert "TrainingStopped: the training was told to stop, or lost a process; run it again" in said
    step = int(json.loads((world / "stopped.partial" / "latest.json").read_text())["tag"].removeprefix("step-"))
    assert 10 <= step < 400
    assert said.count(f"told to stop at step {step} of 400") == 2


@pytest.mark.parametrize(
    ("codes", "error", "says"),
    [
        ([-9, 75, -15], ResourceUnavailable, "a process of 2 was killed 4 times, at last by signal 9"),
        ([3, -15], ProcessFailed, "ended with code 3"),
        ([75, 75], TrainingStopped, "told to stop"),
        ([-15, -15], TrainingStopped, "told to stop"),
    ],
)
def test_how_processes_ended_is_one_line_and_one_exit_code(
    monkeypatch: pytest.MonkeyPatch, codes: list[int], error: type[CompoDiffError], says: str
) -> None:
    monkeypatch.setattr(training_processes, "_launch", lambda *_: codes)
    with pytest.raises(error, match=says) as raised:
        train_together(["train"], TESTS, count=2)
    assert raised.value.exit_code == {ResourceUnavailable: 6, ProcessFailed: 3, TrainingStopped: 75}[error]


def test_a_full_disk_is_named_and_the_checkpoint_before_stays(world: Path, processes: ForkServerContext) -> None:
    in_process(processes, train_until, 5, world, "model")
    partial = world / "model.partial"
    (partial / "step-6").mkdir()
    (partial / "step-6" / "mp_rank_00_model_states.pt").symlink_to("/dev/full")
    with pytest.raises(ResourceUnavailable, match=r"no space left on the disk for the checkpoint .*step-6"):
        train_in(world, "model")
    assert sorted(path.name for path in partial.iterdir()) == [".compodiff.json", "latest.json", "step-3"]
    assert losses(train_in(world, "model")) == losses(train_in(world, "straight"))


def test_a_diverging_run_names_the_step_and_the_way_out(world: Path) -> None:
    with pytest.raises(ParamsInvalid, match=r"the loss is (nan|inf) at step \d+; lower learning_rate \(1e\+15\)"):
        train_in(world, "model", {"learning_rate": 1e15, "clip_norm": 1e15})
    assert not (world / "model").exists()


@pytest.mark.parametrize(
    "changes",
    [
        {"zero_stage": 1},
        {"zero_stage": 2},
        {"accumulation_steps": 4},
        {"zero_stage": 2, "accumulation_steps": 2},
        {"precision": "bfloat16"},
        {"precision": "bfloat16", "zero_stage": 2},
    ],
    ids=str,
)
def test_sharding_accumulation_and_precision_change_only_the_rounding(world: Path, changes: dict[str, Any]) -> None:
    plain = train_in(world, "plain")
    tolerance = 0.02 if "precision" in changes else 1e-5
    assert train_in(world, "changed", changes)["loss"].to_numpy() == pytest.approx(plain["loss"], rel=tolerance)


@pytest.mark.parametrize("mixup", [0.0, 0.5])
def test_a_divided_batch_is_contrasted_with_all_of_it(world: Path, mixup: float) -> None:
    contrasted = {"contrastive_weight": 2.0, "mixup_concentration": mixup, "condition_dropout": 0.2}
    plain = train_in(world, "plain", contrasted)
    divided = train_in(world, "divided", contrasted | {"accumulation_steps": 4})
    assert divided["loss"].to_numpy() == pytest.approx(plain["loss"], rel=1e-5)


def test_two_processes_learn_what_one_learns(world: Path) -> None:
    """By torchrun, as a user starts it; ZeRO 2 divides gradients and optimizer among the two."""
    plain = train_in(world, "plain")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "--module"]
    training = ["worlds.training", str(world), "divided", json.dumps({"zero_stage": 2})]
    subprocess.run([*command, *training], check=True, cwd=TESTS, env=os.environ | {"OMP_NUM_THREADS": "1"})
    divided = pd.read_csv(world / "divided.csv")
    assert divided["loss"].to_numpy() == pytest.approx(plain["loss"], rel=1e-5)
    assert divided["cosine"].to_numpy() == pytest.approx(plain["cosine"], rel=1e-4)
