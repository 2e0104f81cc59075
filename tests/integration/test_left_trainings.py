"""What a killed training leaves: set aside by another, taken up again, refused, removed; and one at a time."""

import json
import signal
from multiprocessing.context import ForkServerContext
from pathlib import Path

import pytest
from worlds import training as training_world
from worlds.training import in_process, losses, train_in, train_until

from compodiff.errors import CheckpointMismatch, ResourceUnavailable
from compodiff.machine import lock_folder
from compodiff.storage.ownership import mark_folder
from compodiff.training.resume import Checkpoints


def test_a_checkpoint_of_another_training_is_set_aside_and_comes_back_with_its_params(
    world: Path, processes: ForkServerContext, caplog: pytest.LogCaptureFixture
) -> None:
    slower = {"learning_rate": 1e-3}
    assert in_process(processes, train_until, 5, world, "model") == -signal.SIGKILL
    assert in_process(processes, train_until, 5, world, "model", slower) == -signal.SIGKILL
    assert len(list(world.glob("model.partial-*"))) == 1
    told: list[int] = []
    resumed = train_in(world, "model", on_metrics=lambda at, _: told.append(at))
    assert told[0] > 3  # it went on; had it begun afresh, the losses would be the same
    assert "step-3 of another training (learning_rate was 0.001, is 0.003) is set aside" in caplog.text
    assert losses(resumed) == losses(train_in(world, "straight"))
    assert list(world.glob("model.partial*")) == []


def test_it_comes_back_past_a_training_that_was_killed_before_its_first_checkpoint(
    world: Path, processes: ForkServerContext
) -> None:
    in_process(processes, train_until, 5, world, "model")
    in_process(processes, train_until, 2, world, "model", {"learning_rate": 1e-3})
    told: list[int] = []
    train_in(world, "model", on_metrics=lambda at, _: told.append(at))
    assert told[0] > 3
    assert list(world.glob("model.partial*")) == []


def test_a_kill_while_checkpoints_are_removed_leaves_none_that_passes_for_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoints = Checkpoints(tmp_path / "model.partial", {})
    checkpoints.folder.mkdir()
    mark_folder(checkpoints.folder, "checkpoints", ["step-*", "latest.json"])
    (checkpoints.folder / "step-3").mkdir()
    (checkpoints.folder / "latest.json").write_text("{}")

    def stop(path: Path) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("shutil.rmtree", stop)
        with pytest.raises(KeyboardInterrupt):
            checkpoints.remove()
    assert sorted(path.name for path in checkpoints.folder.iterdir()) == [".compodiff.json", "step-3"]
    checkpoints.remove()
    assert not checkpoints.folder.exists()


def test_of_several_trainings_that_were_left_the_last_stays(world: Path, processes: ForkServerContext) -> None:
    for rate in (3e-3, 2e-3, 1e-3):
        in_process(processes, train_until, 5, world, "model", {"learning_rate": rate})
    (aside,) = world.glob("model.partial-*")
    assert json.loads((aside / "latest.json").read_text())["training"]["learning_rate"] == 2e-3
    cosine = {"learning_rate_schedule": "cosine", "learning_rate": 1e-3}
    in_process(processes, train_until, 5, world, "model", cosine)
    longer = cosine | {"steps": training_world.PARAMS.steps + 2}  # a rate that ends with the steps hangs on them
    assert losses(train_in(world, "model", longer)) == losses(train_in(world, "straight", longer))


def test_a_checkpoint_of_the_same_training_on_another_machine_is_refused(
    world: Path, processes: ForkServerContext
) -> None:
    in_process(processes, train_until, 5, world, "model")
    with pytest.raises(CheckpointMismatch, match=r"precision was float32, is bfloat16.*rm -r .*model\.partial"):
        train_in(world, "model", {"precision": "bfloat16"})
    assert (world / "model.partial" / "step-3").is_dir()


def test_it_is_refused_on_another_machine_when_it_comes_back_too(world: Path, processes: ForkServerContext) -> None:
    assert in_process(processes, train_until, 5, world, "model") == -signal.SIGKILL
    assert in_process(processes, train_until, 5, world, "model", {"learning_rate": 1e-3}) == -signal.SIGKILL
    with pytest.raises(CheckpointMismatch, match=r"precision was float32, is bfloat16"):
        train_in(world, "model", {"precision": "bfloat16"})
    told: list[int] = []
    train_in(world, "model", on_metrics=lambda at, _: told.append(at))
    assert told[0] > 3


def test_a_training_under_way_is_left_alone(world: Path, processes: ForkServerContext) -> None:
    in_process(processes, train_until, 5, world, "model")
    with (
        lock_folder(world / "model.partial"),
        pytest.raises(ResourceUnavailable, match=r"another training writes .*model\.partial"),
    ):
        train_in(world, "model", {"learning_rate": 1e-3})
    assert losses(train_in(world, "model")) == losses(train_in(world, "straight"))
