"""`compodiff adapt` for real, with a tiny CLIP of random weights: captions in, a registered model out; bad input."""

import json
import random
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image
from typer.testing import CliRunner
from worlds.tiny_clip import make_open_clip_encoder

from compodiff.adaptation.adapt import Adaptation, adapt
from compodiff.adaptation.pairs import make_pairs, sample_captions
from compodiff.cli import app
from compodiff.encoders import load_encoder, save_encoder
from compodiff.errors import InputInvalid
from compodiff.model.checkpoint import load_model
from compodiff.params import Params, load_params
from compodiff.search.searcher import Searcher
from compodiff.storage.ownership import mark_folder
from compodiff.tracking.registry import ModelCandidate, find_version_at, register_model
from compodiff.tracking.store import open_store

pytestmark = pytest.mark.filterwarnings("ignore:Operation with range:DeprecationWarning")  # MLflow's use of pandas
ROOT = Path(__file__).parents[2]
ADVERBS = ("slowly", "quickly", "never", "always", "often", "again", "rarely", "soon", "now", "then", "here", "there")
CLASSES = 4  # dimensions, of 16
SMALL = {"captions": 240, "steps": 4, "validate_every": 4, "checkpoint_every": 2, "held_out": 20}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project of a small adaptation, with an encoder and pictures of two classes."""
    root = tmp_path_factory.mktemp("adapting")
    params = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    params["adaptation"] |= SMALL
    params["captions"]["keywords"] |= {"min_count": 2}
    params["denoiser"] |= {"width": 32, "depth": 1, "heads": 1, "cross_heads": 1, "head_width": 32}
    (root / "params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")
    save_encoder(make_open_clip_encoder(root), root / "encoder")
    rng = np.random.default_rng(0)
    for kind in ("dogs", "red_cars"):
        (root / "pictures" / kind).mkdir(parents=True)
        for number in range(3):
            pixels = rng.integers(0, 255, (40, 40, 3), np.uint8)
            Image.fromarray(pixels).save(root / "pictures" / kind / f"{number}.png")
    return root


@pytest.fixture(scope="module")
def params(project: Path) -> Params:
    return load_params(project / "params.yaml")


def copy_with_classes(encoder: Path, to: Path) -> Path:
    """Copy an encoder; the last CLASSES dimensions are those that no model learns, as of the default encoder."""
    shutil.copytree(encoder, to)
    manifest = json.loads((to / "manifest.json").read_text())
    manifest["picture"]["class_dimensions"] = CLASSES
    (to / "manifest.json").write_text(json.dumps(manifest))
    return to


def stop(*_: object) -> None:
    raise KeyboardInterrupt


def register_and_stop(project: Path, candidate: ModelCandidate) -> None:
    register_model(project, candidate)
    raise KeyboardInterrupt


def run(project: Path, *options: str) -> tuple[int, str, str]:
    """Run the command in the project; return exit code, stdout and the error's line."""
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(project)
        patched.delenv("MLFLOW_TRACKING_URI", raising=False)
        patched.setenv("COMPODIFF_WORKERS", "1")
        result = CliRunner().invoke(app, ["adapt", "--encoder", "encoder", "--to", "to", *options])
    return result.exit_code, result.stdout, str(result.exception or "")


def test_captions_become_a_registered_model_that_answers_over_the_pictures(project: Path) -> None:
    code, told, fault = run(project, "--pictures", "pictures", "--json")
    assert code == 0, fault
    content = json.loads(told)
    assert content["gap"]["pictures"] == "pictures"
    assert set(content["figures"]) == {"captions", "pictures"}
    assert set(content["figures"]["pictures"]) == {"composed", "image_only", "text_only", "sum", "product", "record"}
    assert not (project / "to" / "work").exists()
    _, card = load_model(project / "to" / "composed")
    assert card.trained_with["adaptation"]["captions"] == SMALL["captions"]
    version = find_version_at(open_store(project), "challenger")
    assert version is not None
    assert version.number == content["version"]
    assert "pictures/composed/recall_at_1" in version.figures
    assert find_version_at(open_store(project), "champion") is None
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(project)
        searcher = Searcher.load("models:/compodiff@challenger")
        (first, *_) = searcher.search("dogs/0.png", "a red car instead", k=3)
    assert first.picture_id != "dogs/0.png"
    assert json.loads(run(project, "--pictures", "pictures", "--json")[1]) == content, "the second run makes nothing"


def test_a_run_that_was_stopped_as_it_had_registered_finds_its_version(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = ("--pictures", "pictures", "--to", str(tmp_path / "to"), "--json")
    with monkeypatch.context() as patched:
        patched.setattr("compodiff.stages.register_folder.register_model", register_and_stop)
        assert run(project, *asked)[0] != 0
    store = open_store(project)
    before = store.client.search_model_versions("name = 'compodiff'")
    store.client.delete_registered_model_alias("compodiff", "challenger")
    code, told, fault = run(project, *asked)
    assert code == 0, fault
    assert len(store.client.search_model_versions("name = 'compodiff'")) == len(before)
    challenger = find_version_at(store, "challenger")
    assert challenger is not None
    assert challenger.number == json.loads(told)["version"] == str(max(int(it.version) for it in before))


def test_a_run_that_was_stopped_goes_on_to_the_same_weights(
    project: Path, params: Params, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from compodiff.training.resume import Checkpoints

    save = Checkpoints.save

    def save_and_stop(self: Checkpoints, *arguments: object) -> None:
        save(self, *arguments)  # type: ignore[arg-type]
        raise KeyboardInterrupt

    monkeypatch.setenv("COMPODIFF_WORKERS", "1")
    encoder = copy_with_classes(project / "encoder", tmp_path / "encoder")
    asked = Adaptation(project, params, str(encoder), None, None, None, tmp_path / "to")
    with monkeypatch.context() as patched:
        patched.setattr(Checkpoints, "save", save_and_stop)
        with pytest.raises(KeyboardInterrupt):
            adapt(asked)
    assert (tmp_path / "to" / "work" / "composed.partial").is_dir()
    assert not (tmp_path / "to" / "composed").exists()
    adapt(asked)
    again = Adaptation(project, params, str(encoder), None, None, None, tmp_path / "straight")
    adapt(again)
    one, other = (load_model(folder / "composed")[0].state_dict() for folder in (asked.to, again.to))
    assert all((one[name] == other[name]).all() for name in one)
    whole = load_encoder(encoder).manifest.embedding_dim
    assert load_model(asked.to / "composed")[1].denoiser.embedding_dim == whole - CLASSES


def test_nothing_of_another_adaptation_stays(
    project: Path, params: Params, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = Adaptation(project, params, str(project / "encoder"), None, None, None, tmp_path / "to")
    monkeypatch.setattr("compodiff.adaptation.adapt.claim_folder", stop)
    with pytest.raises(KeyboardInterrupt):
        adapt(asked)
    (asked.to / "index").mkdir()
    mark_folder(asked.to / "index", "index")
    (asked.to / "adapted.json").write_text('{"made_of": {"encoder": "another"}}')
    with pytest.raises(KeyboardInterrupt):
        adapt(asked)
    assert {path.name for path in asked.to.iterdir()} == {".compodiff.json"}, "no index of another encoder"


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        (["un perro en la playa con una pelota", "el gato en una mesa con los libros"], "2 not_english"),
        ([f"a dog on a beach with {number} boats" for number in range(10)], "too few captions .*10 usable"),
        ([f"{one} and {other}" for one in ADVERBS for other in ADVERBS], "no term of|none of .* terms|no caption of"),
        ([], "has no usable caption"),
    ],
    ids=["another language", "ten captions", "nothing to change", "none"],
)
def test_captions_of_no_use_are_refused_in_one_line(
    project: Path, params: Params, tmp_path: Path, lines: list[str], reason: str
) -> None:
    captions, work = tmp_path / "captions.txt", tmp_path / "work"
    captions.write_text("\n".join(lines), encoding="utf-8")
    work.mkdir()
    shutil.copytree(project / "encoder", work / "encoder")
    encoder = load_encoder(work / "encoder")
    with pytest.raises(InputInvalid, match=reason) as caught:
        make_pairs(work, captions, encoder, work / "encoder", params)
    assert "\n" not in str(caught.value)


def test_of_a_long_list_an_even_sample_is_kept_whatever_its_order(params: Params, tmp_path: Path) -> None:
    lines = [json.dumps({"caption": f"a dog beside house {number}"}) for number in range(3000)]
    kept = []
    for seed in (0, 1):
        random.Random(seed).shuffle(lines)
        (tmp_path / f"{seed}.jsonl").write_text("\n".join(lines), encoding="utf-8")
        (tmp_path / str(seed)).mkdir()
        kept.append(sample_captions(tmp_path / f"{seed}.jsonl", tmp_path / str(seed), params).read_text())
    assert kept[0] == kept[1]
    numbers = [int(line.split(" ")[-1]) for line in kept[0].splitlines()]
    assert len(numbers) == SMALL["captions"]
    assert 1200 < np.mean(numbers) < 1800
    counted = json.loads((tmp_path / "0" / "counted.json").read_text())
    assert (counted["read"], counted["used"]) == (3000, SMALL["captions"])


def test_an_encoder_without_a_joint_space_is_refused_with_what_serves(project: Path, tmp_path: Path) -> None:
    shutil.copytree(project / "encoder", tmp_path / "apart")
    manifest = json.loads((tmp_path / "apart" / "manifest.json").read_text())
    (tmp_path / "apart" / "manifest.json").write_text(json.dumps(manifest | {"joint": None}))
    code, _, fault = run(project, "--encoder", str(tmp_path / "apart"), "--to", str(tmp_path / "to"))
    assert code != 0
    assert "shares the pictures' space" in fault
    assert "siglip2-b16" in fault


def test_an_empty_folder_of_pictures_is_refused_before_anything_is_made(project: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    code, _, fault = run(project, "--pictures", str(tmp_path / "empty"), "--to", str(tmp_path / "to"))
    assert code != 0
    assert str(tmp_path / "empty") in fault
    assert not (tmp_path / "to" / "work" / "pairs.parquet").exists()


def test_what_is_not_there_is_named(project: Path, tmp_path: Path) -> None:
    for option in ("--captions", "--pictures"):
        code, _, fault = run(project, option, str(tmp_path / "gone"), "--to", str(tmp_path / "to"))
        assert code != 0
        assert "gone is not there" in fault


def test_a_folder_that_holds_what_is_not_ours_is_refused(project: Path, tmp_path: Path) -> None:
    (tmp_path / "to").mkdir()
    (tmp_path / "to" / "mine.txt").write_text("mine")
    code, _, fault = run(project, "--to", str(tmp_path / "to"))
    assert code != 0
    assert "mine.txt" in fault
    assert [path.name for path in (tmp_path / "to").iterdir()] == ["mine.txt"]
