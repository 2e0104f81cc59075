"""Fine-tuning for real, in a small world: the new set is learned, the old is kept, and a killed run goes on."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file
from worlds import training as training_world

from compodiff.embeddings import SetEmbeddings
from compodiff.errors import InputInvalid
from compodiff.model.checkpoint import load_model
from compodiff.params import TaskShares
from compodiff.stages.finetune import finetune_model, share_with
from compodiff.training.examples import IMAGE, TARGET


@pytest.fixture
def artifacts(tmp_path: Path) -> Path:
    """A trained model, the set it knows, and another in which "make it red" means blue."""
    training_world.write_embeddings(tmp_path / "embeddings")
    training_world.train_in(tmp_path, "composed", {"steps": 60, "validate_every": 60})
    world = tmp_path / "embeddings"
    for name in ("world", "mine"):
        for kind in ("embeddings", "validation"):
            place = tmp_path / "artifacts" / kind / name
            shutil.copytree(world if kind == "embeddings" else world / "examples", place)
        (tmp_path / "artifacts" / "validation" / name / "result.json").write_text("{}")
    for split in ("train", "validation"):
        path = tmp_path / "artifacts" / "validation" / "mine" / split / "triplet.npy"
        table = np.load(path)
        turned = training_world.TEXTS.index("make it red"), training_world.TEXTS.index("make it blue")
        np.save(path, np.where(np.isin(table, turned) & (np.arange(4) == 0), sum(turned) - table, table))
    shutil.copy(Path(__file__).parents[2] / "params.yaml", tmp_path)  # runs are recorded in a project
    (tmp_path / "encoder").mkdir()
    (tmp_path / "encoder" / "manifest.json").write_text(json.dumps(training_world.MANIFEST.to_json()))
    return tmp_path / "artifacts"


def tune(artifacts: Path, steps: int = 60, **changes: object) -> Path:
    known = TaskShares(text_to_image={"world": 0.5}, masked={}, triplet={"world": 0.5})
    params = training_world.PARAMS.model_copy(
        update={"tasks": share_with(known, "mine", 0.25), "steps": steps, "validate_every": steps, **changes}
    )
    root = artifacts.parent
    finetune_model(
        params,
        "mine",
        composed=root / "composed",
        encoder=root / "encoder",
        embeddings=artifacts / "embeddings",
        validated=artifacts / "validation",
        to=root / "tuned",
    )
    return root / "tuned"


def test_shares_of_what_was_known_shrink_alike() -> None:
    known = TaskShares(text_to_image={"a": 0.2, "b": 0.1}, masked={"b": 0.3}, triplet={"b": 0.4})
    shares = share_with(known, "mine", 0.5)
    assert shares.by_task == {
        "text_to_image": {"a": 0.1, "b": 0.05},
        "masked": {"b": 0.15},
        "triplet": {"b": 0.2, "mine": 0.5},
    }
    assert share_with(known, "mine", 0.0).by_task == {"text_to_image": {}, "masked": {}, "triplet": {"mine": 1.0}}


def test_a_model_learns_the_new_set_and_is_a_folder_that_takes_its_place(artifacts: Path) -> None:
    tuned = tune(artifacts)
    curve = (tuned / "curve.csv").read_text().splitlines()
    assert len(curve) == 2
    recall = float(curve[1].split(",")[3])
    assert recall > 0.3, "of the new set's validation triplets; ten of 300 pictures is chance"
    _, card = load_model(tuned / "composed")
    assert card.trained_with["finetuning"]["tasks"]["triplet"] == {"world": 0.125, "mine": 0.75}
    assert (tuned / "encoder" / "manifest.json").is_file()
    old, new = (load_file(folder / "composed" / "model.safetensors") for folder in (artifacts.parent, tuned))
    assert any((old[name] != new[name]).any() for name in old)


def test_a_killed_run_goes_on(artifacts: Path) -> None:
    script = (
        "import sys; sys.path.insert(0, sys.argv[2]); import os, signal; from pathlib import Path\n"
        "from integration.test_finetuning import tune\n"
        "from compodiff.training.resume import Checkpoints\n"
        "save = Checkpoints.save\n"
        "def killed(self, *arguments):\n"
        "    save(self, *arguments); os.kill(os.getpid(), signal.SIGKILL)\n"
        "Checkpoints.save = killed\n"
        "tune(Path(sys.argv[1]), 8)\n"
    )
    tests = Path(__file__).parents[1]
    environment = {**os.environ, "PYTHONPATH": f"{tests}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    ended = subprocess.run([sys.executable, "-c", script, artifacts, tests], env=environment, check=False)
    assert ended.returncode == -signal.SIGKILL
    assert not (artifacts.parent / "tuned" / "composed").exists()
    tune(artifacts, 8)
    weights = load_file(artifacts.parent / "tuned" / "composed" / "model.safetensors")
    shutil.rmtree(artifacts.parent / "tuned")
    tune(artifacts, 8)
    straight = load_file(artifacts.parent / "tuned" / "composed" / "model.safetensors")
    assert all((weights[name] == straight[name]).all() for name in weights)


def test_a_set_without_triplets_is_named(artifacts: Path) -> None:
    for name in ("triplet", "relation_starts"):
        path = artifacts / "validation" / "mine" / "train" / f"{name}.npy"
        np.save(path, np.load(path)[:0])
    with pytest.raises(InputInvalid, match="the set mine has no example of the task triplet"):
        tune(artifacts)
    assert SetEmbeddings.load(artifacts / "embeddings" / "mine").images.shape[0] > max(IMAGE, TARGET)


def test_a_folder_of_somebodys_is_refused_before_anything_is_trained(artifacts: Path) -> None:
    theirs = artifacts.parent / "tuned" / "curve.csv"
    theirs.parent.mkdir()
    theirs.write_text("mine")
    with pytest.raises(InputInvalid, match=r"tuned holds 'curve.csv', which compodiff did not write"):
        tune(artifacts)
    assert [path.name for path in theirs.parent.iterdir()] == ["curve.csv"]
    assert theirs.read_text() == "mine"
