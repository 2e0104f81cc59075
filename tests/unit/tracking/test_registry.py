"""A real, tiny model registered in a real store, fetched by alias and run by MLflow itself."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import mlflow.pyfunc
import numpy as np
import pytest
import yaml
from factories import make_benchmark_gate, make_denoiser_config, make_random_denoiser
from mlflow.entities.model_registry import ModelVersion
from opentelemetry.sdk.trace import TracerProvider
from PIL import Image

from compodiff.encoders import Encoder, save_encoder
from compodiff.errors import InputInvalid, PromotionRefused
from compodiff.inspection.versions import compare_versions
from compodiff.model.checkpoint import ModelCard, save_model
from compodiff.model.sampling.process import Process
from compodiff.params import load_params
from compodiff.search.composer import Composer
from compodiff.search.query import Query
from compodiff.signing.chain import read_origin, require_intact
from compodiff.signing.lineage import compute_dvc_digest
from compodiff.stages import register as stage
from compodiff.stages.register import register
from compodiff.stages.set_dials import set_dials
from compodiff.storage.atomic import write_json
from compodiff.tracking import registry, version_files
from compodiff.tracking.own_store import find_stored_version
from compodiff.tracking.promotion import promote
from compodiff.tracking.registry import (
    CHALLENGER,
    CHAMPION,
    MODEL,
    PREVIOUS,
    find_version_at,
    make_challenger,
)
from compodiff.tracking.runs import record_training
from compodiff.tracking.signature import make_input_example
from compodiff.tracking.store import open_store
from compodiff.tracking.version_files import find_model_folder

pytestmark = pytest.mark.filterwarnings("ignore:Operation with range:DeprecationWarning")  # MLflow's use of pandas

PARAMS = Path(__file__).parents[3] / "params.yaml"
FIGURES = {
    "composed": {"recall_at_10": 0.6, "intervals": {"recall_at_10": [0.5, 0.7]},
                 "relations": {"style": {"recall_at_10": 0.4, "queries": 60}}},
    "record": {"seed": 3},
}  # fmt: skip


@pytest.fixture(scope="module")
def parts(tiny_encoder: Encoder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder artifacts/ as the stages before `register` leave it."""
    artifacts = tmp_path_factory.mktemp("parts") / "artifacts"
    manifest = save_encoder(tiny_encoder, artifacts / "encoder")
    config = make_denoiser_config(token_dims=manifest.token_dims, residual=True)
    card = ModelCard(config, Process("diffusion", 1000), manifest.to_json(), {"composed": {"steps": 2000}})
    set_dials(sampling=load_params(PARAMS).sampling, dials=artifacts / "sampling.json")
    save_model(artifacts / "composed", make_random_denoiser(config).state_dict(), card)
    (artifacts / "index").mkdir()
    (artifacts / "index" / "manifest.json").write_text("{}")
    (artifacts / "reports" / "emoji").mkdir(parents=True)
    (artifacts / "reports" / "emoji" / "report.html").write_text("<h1>emoji</h1>")
    (artifacts / "metrics").mkdir()
    (artifacts / "metrics" / "emoji.json").write_text(json.dumps(FIGURES))
    scenes = {
        "composed": {"recall_at_10": 0.8, "intervals": {"recall_at_10": [0.75, 0.85]}},
        "record": {"benchmark": "scenes"},
    }
    (artifacts / "metrics" / "scenes.json").write_text(json.dumps(scenes))
    return artifacts


@pytest.fixture
def registered(project: Path, parts: Path) -> Path:
    """The model of a training that was traced."""
    artifacts = shutil.copytree(parts, project / "artifacts")
    with TracerProvider().get_tracer("prefect").start_as_current_span("train_composed") as span:
        with record_training("train_composed", {"composed": {"steps": 2000}}, project):
            pass
        (project / "trace").write_text(format(span.get_span_context().trace_id, "032x"))
    register_parts(artifacts)
    return project


def register_parts(artifacts: Path) -> None:
    parts = {name: artifacts / name for name in ("encoder", "composed", "index", "metrics", "reports")}
    register(**parts, dials=artifacts / "sampling.json", registration=artifacts / "registration.json")


def test_a_version_holds_figures_params_report_and_every_part_of_the_model(registered: Path) -> None:
    store = open_store(registered)
    challenger = find_version_at(store, CHALLENGER)
    assert challenger is not None
    assert challenger.figures == {
        "emoji/composed/recall_at_10": 0.6,
        "emoji/composed/intervals/recall_at_10/low": 0.5,
        "emoji/composed/intervals/recall_at_10/high": 0.7,
        "emoji/composed/relations/style/recall_at_10": 0.4,
        "emoji/composed/relations/style/queries": 60.0,
        "scenes/composed/recall_at_10": 0.8,
        "scenes/composed/intervals/recall_at_10/low": 0.75,
        "scenes/composed/intervals/recall_at_10/high": 0.85,
    }
    card = store.client.get_model_version(MODEL, challenger.number).description
    assert "| emoji | recall at 10 |" in card
    assert "| composed | 60.0 (50.0 to 70.0) |" in card
    assert "w_text" in card
    params = store.client.get_run(challenger.run_id).data.params
    assert params["composed.steps"] == "2000"
    assert params["sampling.w_text"] == str(load_params(PARAMS).sampling.w_text)
    assert {file.path for file in store.client.list_artifacts(challenger.run_id)} == {
        "emoji.json",
        "reports",
        "scenes.json",
    }
    folder = find_model_folder(registered, CHALLENGER)
    parts = ["chain.json", "composed", "encoder", "index", "sampling.json"]
    assert sorted(part.name for part in folder.iterdir()) == parts
    require_intact(folder)  # as it was registered
    trained_in = read_origin(folder)["trained_in"]
    assert trained_in.split("-")[1] == (registered / "trace").read_text()
    assert store.client.get_model_version(MODEL, challenger.number).tags["trained_in"] == trained_in
    assert folder.is_relative_to(registered / "mlruns" / "artifacts")
    written = json.loads((registered / "artifacts" / "registration.json").read_text())
    assert written == {"model": "compodiff", "version": "1", "run_id": challenger.run_id}


def test_the_project_s_own_store_is_read_without_the_client(registered: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    by_client = registry.find_model_version(open_store(registered), CHALLENGER)
    found = {name: find_stored_version(registered, MODEL, name) for name in (CHALLENGER, "1")}
    assert {each.number for each in found.values()} == {str(by_client.version)}
    assert {each.folder for each in found.values()} == {find_model_folder(registered, CHALLENGER)}
    assert find_stored_version(registered, MODEL, "champion") is None
    assert find_stored_version(registered, MODEL, "2") is None
    with monkeypatch.context() as patched:
        patched.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
        assert find_stored_version(registered, MODEL, CHALLENGER) is None
    open_store(registered).client.delete_model_version(MODEL, "1")
    assert find_stored_version(registered, MODEL, "1") is None


def test_an_earlier_version_can_challenge_again_but_not_one_of_another_store(registered: Path) -> None:
    store = open_store(registered)
    run_id = json.loads((registered / "artifacts" / "registration.json").read_text())["run_id"]
    store.client.delete_registered_model_alias(MODEL, CHALLENGER)
    assert not make_challenger(registered, "1", "a run of another store")
    assert find_version_at(store, CHALLENGER) is None
    assert make_challenger(registered, "1", run_id)
    assert find_version_at(store, CHALLENGER) is not None


def test_a_registration_that_was_cut_off_makes_no_second_version(
    registered: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    artifacts = registered / "artifacts"

    def cut_off(path: Path, content: Any) -> None:
        write_json(path, content)
        path.unlink()
        raise KeyboardInterrupt  # MLflow has the version, and DVC's output is not there

    def count_versions() -> int:
        return len(open_store(registered).client.search_model_versions(f"name = '{MODEL}'"))

    def register_and_be_killed() -> None:
        with monkeypatch.context() as patched:
            patched.setattr(stage, "write_json", cut_off)
            register_parts(artifacts)

    with pytest.raises(KeyboardInterrupt):
        register_and_be_killed()
    register_parts(artifacts)
    assert count_versions() == 2
    assert json.loads((artifacts / "registration.json").read_text())["version"] == "2"
    register_parts(artifacts)
    assert count_versions() == 3, "one that has ended is not gone on with"
    with pytest.raises(KeyboardInterrupt):
        register_and_be_killed()
    (artifacts / "reports" / "emoji" / "report.html").write_text("<h1>another</h1>")
    register_parts(artifacts)
    assert count_versions() == 5, "of other inputs it is another"


def test_nothing_in_a_version_is_pickled(registered: Path) -> None:
    version = find_model_folder(registered, CHALLENGER).parent
    suffixes = {file.suffix for file in version.rglob("*") if file.is_file()}
    assert ".safetensors" in suffixes
    assert suffixes <= {".safetensors", ".json", ".py", ".txt", ".yaml", ""}
    assert [file.name for file in version.rglob("*") if file.is_file() and not file.suffix] == ["MLmodel"]


def test_a_challenger_is_shown_against_the_champion(registered: Path) -> None:
    store, artifacts, params = open_store(registered), registered / "artifacts", load_params(PARAMS)
    for given, said in ((None, "no two versions to compare"), ("9", "no version of compodiff is 9; name the number")):
        with pytest.raises(InputInvalid, match=said):
            compare_versions(registered, params, given, None)
    store.client.set_registered_model_alias(MODEL, CHAMPION, "1")
    better = json.loads(json.dumps(FIGURES))
    better["composed"] |= {"recall_at_10": 0.7, "relations": {"style": {"recall_at_10": 0.3, "queries": 60}}}
    (artifacts / "metrics" / "emoji.json").write_text(json.dumps(better))
    register_parts(artifacts)
    emoji, scenes = compare_versions(registered, params, None, registered / "versions.html")
    assert emoji.figures == {"recall_at_10": (0.7, 0.6, None)}
    assert emoji.relations == {"style": (60, 0.3, 0.4)}
    assert (scenes.figures, scenes.relations) == ({"recall_at_10": (0.8, 0.8, None)}, {})
    page = (registered / "versions.html").read_text()
    assert page.index("Challenger 2 against champion 1") < page.index("The gate objects:")
    assert "<td>30.0<td>40.0<td class=worse>-10.0" in page
    store.client.set_registered_model_alias(MODEL, PREVIOUS, "1")
    store.client.set_registered_model_alias(MODEL, CHAMPION, "2")
    assert compare_versions(registered, params, None, None) == [emoji, scenes], "one that is champion already"


def test_mlflow_runs_the_version_and_answers_as_the_composer_does(
    registered: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", open_store(registered).uri)  # as a user of MLflow alone sets it
    folder = find_model_folder(registered, CHALLENGER)
    model = mlflow.pyfunc.load_model(f"models:/{MODEL}@{CHALLENGER}")
    answer = model.predict(make_input_example(), params={"w_text": 2.0, "seed": 7})
    composer = Composer.load(folder / "composed", folder / "encoder")
    query = Query(Image.new("RGB", (8, 8), "red"), "make it blue", w_text=2.0, seed=7)
    np.testing.assert_allclose(answer, composer.compose([query]).numpy(), rtol=1e-5, atol=1e-6)
    with pytest.raises(mlflow.MlflowException, match="relative_caption"):
        model.predict(make_input_example().drop(columns="relative_caption"))


def test_without_a_champion_the_way_to_one_is_named(registered: Path) -> None:
    with pytest.raises(InputInvalid, match="no version of compodiff is champion; run: make run"):
        find_model_folder(registered)


def test_a_version_whose_files_are_gone_is_named(registered: Path) -> None:
    (find_model_folder(registered, CHALLENGER) / "encoder" / "manifest.json").unlink()
    with pytest.raises(PromotionRefused, match=r"the file encoder/manifest.json of compodiff version 1 is gone \("):
        promote(registered, {"emoji": make_benchmark_gate(floor=0.0)}, min_relation_queries=1)
    shutil.rmtree(registered / "mlruns" / "artifacts")
    said = r"the files of compodiff version 1 are gone .* from a backup, or go to another version: compodiff rollback"
    with pytest.raises(InputInvalid, match=said):
        find_model_folder(registered, CHALLENGER)


def test_a_version_whose_chain_of_digests_breaks_is_registered_with_a_warning_and_not_promoted(
    registered: Path, caplog: pytest.LogCaptureFixture
) -> None:
    artifacts, gates = registered / "artifacts", {"emoji": make_benchmark_gate(floor=0.0)}

    def register_as_recorded(digest: str | None) -> None:
        outs = [{"path": "artifacts/composed", "md5": digest}]
        (registered / "dvc.lock").write_text(yaml.safe_dump({"stages": {"train_composed": {"outs": outs}}}))
        register_parts(artifacts)

    assert "chain" not in caplog.text  # of a project without dvc.lock
    register_as_recorded("5.dir")
    said = "its chain of digests from the data to its files is broken"
    assert f"version 2 is registered, but {said}: artifacts/composed is not what dvc.lock records" in caplog.text
    with pytest.raises(PromotionRefused, match=rf"{said} \(artifacts/composed is .*\); dvc repro makes"):
        promote(registered, gates, min_relation_queries=1)
    caplog.clear()
    register_as_recorded(compute_dvc_digest(artifacts / "composed"))
    assert said not in caplog.text
    origin = read_origin(find_model_folder(registered, CHALLENGER))
    assert (origin["broken"], "artifacts/encoder" in origin["unrecorded"]) == ([], True)
    assert promote(registered, gates, min_relation_queries=1).after == "3"


def test_promote_and_rollback_are_commands_with_exit_codes(registered: Path) -> None:
    params = yaml.safe_load(PARAMS.read_text()) | {"promotion": {"behaviour": None}}
    (registered / "params.yaml").write_text(yaml.safe_dump(params))

    def compodiff(command: str) -> subprocess.CompletedProcess[str]:
        program = Path(sys.executable).with_name("compodiff")
        return subprocess.run([program, command], cwd=registered, capture_output=True, text=True, check=False)

    made = compodiff("promote")
    assert (made.returncode, made.stdout) == (0, "version 1 is champion now; before it: none\n")
    refused = compodiff("rollback")
    assert refused.returncode == 1
    assert refused.stderr == "compodiff: compodiff has no previous champion to go back to; see: make ui\n"


@pytest.mark.parametrize("run_id", ["../../elsewhere", "/etc", "", "0" * 31, "0" * 32 + "\n"])
def test_a_run_id_of_the_server_that_is_no_hexadecimal_number_does_not_become_a_path(
    tmp_path: Path, run_id: str
) -> None:
    (tmp_path / "params.yaml").write_text("data: {}\n")
    told = ModelVersion(MODEL, "1", 0, run_id=run_id)
    with pytest.raises(InputInvalid, match="not hexadecimal digits"):
        version_files._fetch(tmp_path, open_store(tmp_path), told)
    assert not (tmp_path / "mlruns" / "fetched").exists()
