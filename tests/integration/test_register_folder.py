"""`compodiff register`: a model that this project's pipeline did not train becomes a version, and champion."""

import json
import shutil
from pathlib import Path

import pytest
import yaml
from worlds.command import run_command

from compodiff import Searcher
from compodiff.benchmarks.datasets.assembled import GALLERY_TABLE
from compodiff.errors import CompoDiffError, InputInvalid, PromotionRefused
from compodiff.params import load_params
from compodiff.stages.assemble_benchmark import assemble_benchmark
from compodiff.storage.tables import read_table

pytestmark = pytest.mark.filterwarnings("ignore:Operation with range:DeprecationWarning")  # MLflow's use of pandas

# Over 168 pictures all are among the first thousand, and the reference itself is never found.
CASE = "- {{name: blue, kind: minimum, reference: twemoji-1F534, text: in blue, finds: twemoji-1F535, k: {k}}}"
IMPOSSIBLE = CASE.replace("1F535", "1F534")


@pytest.fixture
def project(search_project: Path, small_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with its gallery assembled and no model; elsewhere/ has one."""
    params = yaml.safe_load((search_project / "params.yaml").read_text())
    params["benchmarks"]["scenes"]["gate"] = None
    params["benchmarks"]["emoji"]["gate"] |= {"floor": 0.0}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
    (tmp_path / "behaviour.yaml").write_text(CASE.format(k=1000))
    emoji = load_params(tmp_path / "params.yaml").benchmarks["emoji"]
    folder = tmp_path / "artifacts" / "benchmarks" / "emoji"
    assemble_benchmark(name="emoji", params=emoji, reads=small_data, folder=folder)
    for part in ("composed", "encoder"):
        shutil.copytree(search_project / "artifacts" / part, tmp_path / "elsewhere" / part)
    shutil.copy(search_project / "artifacts" / "sampling.json", tmp_path / "elsewhere")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return tmp_path


def test_a_model_from_elsewhere_becomes_champion_over_the_projects_gallery(project: Path) -> None:
    root = "artifacts/benchmarks/emoji"
    run_command("benchmark", "run", "triplets", "--root", root, "--model", "elsewhere", "--no-track",
                "--json", "emoji.json")  # fmt: skip
    result = json.loads(Path("emoji.json").read_text())
    for changed, message in (
        ({"weights_digest": "0" * 64}, "other.json measures other weights .000000000000. than the model's"),
        (
            {"sampling": result["record"]["sampling"] | {"draws": 7}},
            "other.json was measured with draws 7, not 4; measure",
        ),
        ({"sampling": None}, "other.json was measured with num_inference_steps None, not"),
    ):
        Path("other.json").write_text(json.dumps(result | {"record": result["record"] | changed}))
        with pytest.raises(InputInvalid, match=message):
            run_command("register", "elsewhere", "--result", "emoji=other.json")
    said = run_command("register", "elsewhere", "--result", "emoji=emoji.json").output
    assert said == "version 1 is challenger now; put it to the gate: compodiff promote\n"
    Path("behaviour.yaml").write_text(IMPOSSIBLE.format(k=5))
    with pytest.raises(PromotionRefused, match=r"1 of 1 cases of behaviour.yaml fail: blue \(twemoji-1F534 is"):
        run_command("promote")
    Path("behaviour.yaml").write_text(CASE.format(k=1000))
    assert "version 1 is champion now" in run_command("promote").output
    outcomes = [json.loads(path.read_text()) for path in Path("mlruns").rglob("behaviour.json")]
    assert [(case["name"], case["passed"]) for table in outcomes for case in table] == [("blue", True)]
    searcher = Searcher.load()
    gallery = read_table(project / "artifacts" / "benchmarks" / "emoji" / GALLERY_TABLE)
    assert sorted(searcher.picture_ids) == sorted(gallery["picture_id"])
    ranking = searcher.search("🔴", "make it blue")
    assert all(hit.path.is_file() for hit in ranking)
    assert searcher.composer.sampling.num_inference_steps == json.loads(
        Path("elsewhere/sampling.json").read_text()
    )["num_inference_steps"]  # fmt: skip


def test_without_figures_it_is_registered_and_not_promoted(project: Path) -> None:
    run_command("register", "elsewhere")
    with pytest.raises(CompoDiffError, match="benchmark emoji was not measured"):
        run_command("promote")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nowhere",), "nowhere/composed is not there; name a folder with composed/ and encoder/"),
        (("elsewhere", "--result", "emoji.json"), "--result emoji.json is not NAME=FILE, such as emoji=emoji.json"),
        (("elsewhere", "--result", "emoji=params.yaml"), "params.yaml is not JSON"),
        (("elsewhere", "--result", "emoji=no.json"), "no.json is not there"),
    ],
)
def test_what_cannot_be_registered_is_named(project: Path, arguments: tuple[str, ...], message: str) -> None:
    with pytest.raises(InputInvalid, match=message):
        run_command("register", *arguments)
    assert not (project / "mlruns").exists()


def test_a_fine_tuned_model_is_registered_with_the_figures_in_its_folder(project: Path) -> None:
    (project / "elsewhere" / "curve.csv").touch()
    with pytest.raises(InputInvalid, match="elsewhere is a fine-tuned model and has its figures already"):
        run_command("register", "elsewhere", "--result", "emoji=emoji.json")
    with pytest.raises(InputInvalid, match="elsewhere holds no figures of a benchmark; run compodiff finetune without"):
        run_command("register", "elsewhere")
