"""A project's folder that is moved or copied keeps its runs and models, and writes nothing to the old place."""

import shutil
from pathlib import Path

import mlflow.artifacts

from compodiff.tracking.registry import CHAMPION, MODEL
from compodiff.tracking.runs import record_training
from compodiff.tracking.store import open_store
from compodiff.tracking.version_files import find_model_folder


def test_a_moved_project_finds_its_models_and_runs_where_they_are_now(project: Path, tmp_path: Path) -> None:
    first = project / "first"
    shutil.copytree(project / "mlruns", first / "mlruns")
    shutil.copy(project / "params.yaml", first)
    store = open_store(first)
    run = store.client.create_run(store.experiment_id)
    (project / "notes.txt").write_text("kept")
    store.client.log_artifact(run.info.run_id, str(project / "notes.txt"))
    logged = store.client.create_logged_model(store.experiment_id, MODEL, source_run_id=run.info.run_id)
    (project / "model" / "artifacts" / "composed").mkdir(parents=True)
    (project / "model" / "artifacts" / "composed" / "config.json").write_text("{}")
    store.client.log_model_artifacts(logged.model_id, str(project / "model"))
    store.client.finalize_logged_model(logged.model_id, "READY")
    store.client.create_registered_model(MODEL)
    store.client.create_model_version(MODEL, logged.artifact_location, run.info.run_id, model_id=logged.model_id)
    store.client.set_registered_model_alias(MODEL, CHAMPION, "1")

    second = tmp_path / "a folder with spaces"
    first.rename(second)
    folder = find_model_folder(second)
    assert folder.is_relative_to(second)
    assert (folder / "composed" / "config.json").read_text() == "{}"
    moved = open_store(second)
    read = mlflow.artifacts.load_text(f"{moved.client.get_run(run.info.run_id).info.artifact_uri}/notes.txt")
    assert read == "kept"
    (second / "curve.csv").write_text("step,loss\n")
    with record_training("train_prior", {}, second) as training:
        training.log_artifact(second / "curve.csv")
    assert not first.exists()
    assert list((second / "mlruns" / "artifacts").rglob("curve.csv"))
