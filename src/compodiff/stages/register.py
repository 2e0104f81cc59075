"""The stage register: the composed model becomes a version of the registered model, the challenger.

Run: compodiff run register. Whether it becomes champion is decided after, by flow or command, not by a stage.
"""

from pathlib import Path
from typing import Annotated

from compodiff.project import find_project_root
from compodiff.stages.declaration import Input, Output
from compodiff.storage.atomic import write_json
from compodiff.storage.ownership import delete_file
from compodiff.tracking.figures import read_figures
from compodiff.tracking.registry import BEGUN, MODEL, ModelCandidate, name_registration, register_model


def register(
    *,
    encoder: Annotated[Path, Input("artifacts/encoder")],
    composed: Annotated[Path, Input("artifacts/composed")],
    dials: Annotated[Path, Input("artifacts/sampling.json")],
    index: Annotated[Path, Input("artifacts/index")],
    metrics: Annotated[Path, Input("artifacts/metrics")],
    reports: Annotated[Path, Input("artifacts/reports")],
    registration: Annotated[Path, Output("artifacts/registration.json")],
) -> None:
    """Register the model with its encoder, its index, its dials, the figures of every benchmark and the reports.

    Raises:
        InputInvalid: there is no model.
        ResourceUnavailable: MLflow cannot be reached, or the disk is full.
    """
    measured = sorted(metrics.glob("*.json"))  # one file a benchmark, by whose name params.yaml has its gate
    folders = {"composed": composed, "encoder": encoder, "index": index}
    begun = registration.with_suffix(".begun")
    candidate = ModelCandidate(
        folders=folders,
        dials=dials,
        figures={file.stem: read_figures(file) for file in measured},
        files=[*measured, reports],
        registration=name_registration(begun, {**folders, "dials": dials, "metrics": metrics, "reports": reports}),
    )
    version = register_model(find_project_root(registration.parent), candidate)
    write_json(registration, {"model": MODEL, "version": version.number, "run_id": version.run_id})
    delete_file(begun, BEGUN)
