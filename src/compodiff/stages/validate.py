"""The stage validate: triplets that hold what they promise go on. Run: compodiff run validate."""

from pathlib import Path
from typing import Annotated

from compodiff.catalogue.pictures import Catalogue, paint_on_white
from compodiff.errors import DataRejected
from compodiff.execution import count_workers
from compodiff.params import SynthesisParams, ValidationParams
from compodiff.stages.declaration import Input, Output
from compodiff.storage import shards
from compodiff.storage.atomic import replace_folder, write_json
from compodiff.validation import add_evidence, has_schema, validate_triplets


def validate(
    *,
    synthesis: SynthesisParams,
    validation: ValidationParams,
    data: Annotated[Path, Input("data")],
    triplets: Annotated[Path, Input("artifacts/triplets")],
    validated: Annotated[Path, Output("artifacts/validation")],
) -> None:
    """Write accepted.parquet, quarantine.parquet, result.json and docs/index.html; stop where the suite fails.

    Raises:
        DataRejected: the suite failed; all but accepted.parquet is written.
        InputInvalid: the manifest or a shard is missing, cut short or damaged.
        ResourceUnavailable: the disk is full or a worker was killed.
    """
    rows = shards.read_table(triplets / "manifest.parquet")
    if has_schema(rows):
        catalogue = Catalogue.load(data)
        rows = add_evidence(
            rows[rows["accepted"]],
            triplets,
            catalogue.pictures,
            lambda name: paint_on_white(catalogue.read(name)),
            workers=count_workers(),
        )
    with replace_folder(validated, "validation") as folder:
        verdict = validate_triplets(rows, synthesis.floors, validation, docs=folder / "docs")
        shards.write_table(folder / "quarantine.parquet", verdict.quarantine)
        write_json(folder / "result.json", verdict.to_json())
        if verdict.passed:
            shards.write_table(folder / "accepted.parquet", verdict.accepted)
    if not verdict.passed:
        raise DataRejected(
            f"{triplets} is not fit for training: {verdict.describe_reasons()}; "
            f"see {validated / 'quarantine.parquet'} and {validated / 'docs' / 'index.html'}"
        )
