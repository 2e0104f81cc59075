"""From what release 0.1 left (made by its own code) to this one, and back: docs/installation.md#from-release-01."""

import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest
from worlds.command import make_shell

from compodiff.errors import InputInvalid, ParamsInvalid
from compodiff.model.checkpoint import ModelCard
from compodiff.model.network.networks import make_network
from compodiff.params import load_params
from compodiff.sets import open_set

ROOT = Path(__file__).parents[2]
RELEASE = "75a73a4"  # the last commit of the day that CHANGELOG.md gives 0.1
SCORES_AGREE = 1e-3  # measured: 3e-5, where OpenVINO runs the towers now and torch did
# As 0.1 wrote artifacts/composed/config.json.
CARD = {
    "denoiser": {"cross_heads": 2, "depth": 2, "embedding_dim": 32, "feed_forward_factor": 2, "head_width": 16}
    | {"heads": 2, "image_slots": 2, "mask_size": 8, "residual": True, "token_dim": 384, "width": 32},
    "encoder": {"activation": "gelu", "context_length": 32, "embedding_dim": 32, "grids": {"head": 1}}
    | {"image_size": 64, "interpolation": "bicubic", "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}
    | {"name": "embedded-efficientnet-lite0-minilm", "resize_mode": "squash", "token_dim": 384, "weights_digest": "2"},
    "process": {"num_train_timesteps": 1000, "objective": "diffusion"},
    "trained_with": {"sampling": {"draws": 1, "num_inference_steps": 2}},
}


def test_a_model_card_of_0_1_is_read() -> None:
    card = ModelCard.from_json(CARD)
    assert card.denoiser.token_dims == (384,)
    assert make_network(card.denoiser) is not None


def test_params_of_0_1_are_one_line_with_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text("{data: {seed: 1}, benchmark: {}, scenes: {}, promotion: {}, prior: {}}\n")
    with pytest.raises(ParamsInvalid, match=r"params.yaml is of release 0.1; take this release's params.yaml"):
        load_params(tmp_path / "params.yaml")


def test_triplets_of_0_1_are_refused_with_the_way_out(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "train-000000.tar", "w") as tar:
        tar.addfile(tarfile.TarInfo("0.json"), io.BytesIO())
    with pytest.raises(InputInvalid, match=r"set.json is not there, or is no file; make the set again"):
        open_set(tmp_path)


@pytest.fixture(scope="module")
def old_tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sources of 0.1."""
    folder = tmp_path_factory.mktemp("sources")
    packed = subprocess.run(["git", "-C", ROOT, "archive", RELEASE], capture_output=True, check=False)
    if packed.returncode:
        pytest.skip("the commit of release 0.1 is not here: git fetch --unshallow")
    with tarfile.open(fileobj=io.BytesIO(packed.stdout)) as tar:
        tar.extractall(folder, filter="data")
    return folder


def run_old(old_tree: Path, *command: object, folder: Path) -> str:
    settings = os.environ | {"PYTHONPATH": str(old_tree / "src"), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    words = [sys.executable, *map(str, command)]
    done = subprocess.run(words, cwd=folder, env=settings, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_artifacts_registry_and_indexes_of_0_1_are_read_and_0_1_reads_its_own_afterwards(
    old_tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    project = tmp_path / "project"
    run_old(old_tree, ROOT / "tests" / "worlds" / "release_0_1.py", old_tree, project, folder=tmp_path)
    noted = json.loads((project / "answers.json").read_text())
    compodiff = make_shell(monkeypatch, capsys)
    monkeypatch.chdir(project)
    query = ("--reference", noted["reference"], "--text", noted["text"], "--json")

    code, _, err = compodiff("search", *query)
    assert (code, err.count("\n")) == (2, 1)
    assert "params.yaml is of release 0.1" in err
    for name in ("params.yaml", "behaviour.yaml"):
        shutil.copy(ROOT / name, project)
    code, _, err = compodiff("search", *query)
    assert code == 1
    assert err.endswith("run: dvc repro assemble_benchmark@emoji\n")
    assert compodiff("run", "assemble_benchmark@emoji")[0] == 0

    for model, found in noted["found"].items():
        code, out, err = compodiff("search", "--model", model, *query)
        assert code == 0, err
        assert_same(json.loads(out)["results"], found["results"])
    code, out, err = compodiff("index", "status", "album")
    assert (code, out.split(" in ")[0]) == (0, "3 pictures"), err
    for command in ("build", "add", "remove"):
        model = () if command == "remove" else ("--model", "artifacts")
        assert compodiff("index", command, "album", *model)[0] == 0
    reference = ("--reference", "album/red.png", "--text", "in blue", "--json")
    code, out, err = compodiff("search", "--model", "artifacts", "--index", "album", *reference)
    assert code == 0, err
    assert {each["picture_id"] for each in json.loads(out)["results"]} == {"blue.png", "green.png"}

    code, _, err = compodiff("promote")
    assert (code, err) == (
        5, "compodiff: version 2 of compodiff is not promoted: it was rolled back from or withdrawn; register another\n"
    )  # fmt: skip
    for now, before in (("2", "1"), ("1", "2")):
        code, out, err = compodiff("rollback")
        assert (code, out) == (0, f"version {now} is champion again, instead of {before}\n"), err

    shutil.copy(old_tree / "params.yaml", project)  # back to 0.1
    words = ("search", "--model", "models:/compodiff@champion", *query)
    again = json.loads(run_old(old_tree, "-m", "compodiff.cli", *words, folder=project))
    assert again["results"] == noted["found"]["models:/compodiff@champion"]["results"]
    said = run_old(old_tree, "-m", "compodiff.cli", "rollback", folder=project)
    assert said == "version 2 is champion again, instead of 1\n"


def assert_same(ours: list[dict[str, Any]], theirs: list[dict[str, Any]]) -> None:
    """The same pictures with the same scores; of two that score the same either may come first."""
    scores = {each["picture_id"]: each["score"] for each in ours}
    assert scores.keys() == {each["picture_id"] for each in theirs}
    for each in theirs:
        assert scores[each["picture_id"]] == pytest.approx(each["score"], abs=SCORES_AGREE)
