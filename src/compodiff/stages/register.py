"""The stage register: the composed model becomes a version of the registered model, the challenger.

Run: compodiff run register. Whether it becomes champion is decided after, by flow or command, not by a stage.
"""

import json
from pathlib import Path
from typing import Annotated, Any

from compodiff.project import find_project_root
from compodiff.stages.declaration import Input, Output
from compodiff.storage.atomic import write_json
from compodiff.tracking.registry import MODEL, ModelCandidate, register_model


def register(
    *,
    encoder: Annotated[Path, Input("artifacts/encoder")],
    composed: Annotated[Path, Input("artifacts/composed")],
    index: Annotated[Path, Input("artifacts/index")],
    metrics: Annotated[Path, Input("artifacts/metrics/emoji.json")],
    scenes: Annotated[Path, Input("artifacts/metrics/scenes.json")],
    report: Annotated[Path, Input("artifacts/report")],
    registration: Annotated[Path, Output("artifacts/registration.json")],
) -> None:
    """Register the model with its encoder, its index, its figures and the report.

    Raises:
        InputInvalid: there is no model.
        ResourceUnavailable: MLflow cannot be reached, or the disk is full.
    """
    measured = (metrics, scenes)  # one file a benchmark, by whose name params.yaml has its gate
    candidate = ModelCandidate(
        folders={"composed": composed, "encoder": encoder, "index": index},
        figures={file.stem: _collect_rows(file) for file in measured},
        files=[*measured, report],
    )
    version = register_model(find_project_root(registration.parent), candidate)
    write_json(registration, {"model": MODEL, "version": version.number, "run_id": version.run_id})


def _collect_rows(metrics: Path) -> dict[str, Any]:
    figures = json.loads(metrics.read_text(encoding="utf-8"))
    return {method: row for method, row in figures.items() if method != "record"}
