"""The stage validate@NAME: rows of a set that hold what they promise go on. Run: compodiff run validate@emoji."""

import hashlib
import sys
from pathlib import Path
from typing import Annotated

from tqdm import tqdm

from compodiff.benchmarks.datasets.assembled import read_held_out
from compodiff.embeddings import SetEmbeddings
from compodiff.errors import DataRejected
from compodiff.params import AnySetParams, ValidationParams
from compodiff.sets import open_set
from compodiff.stages.declaration import Input, Item, Output
from compodiff.storage.atomic import replace_folder, write_json
from compodiff.training.examples import write_examples
from compodiff.validation import HeldOut, Judged, shorten_digests, validate_rows, write_pages, write_verdicts


def validate(
    *,
    params: Annotated[AnySetParams, Item("sets")],
    validation: ValidationParams,
    folder: Annotated[Path, Input("artifacts/sets/{key}")],
    embeddings: Annotated[Path, Input("artifacts/embeddings/{key}")],
    benchmarks: Annotated[Path, Input("artifacts/benchmarks")],
    validated: Annotated[Path, Output("artifacts/validation/{key}")],
) -> None:
    """Write the examples of accepted rows, what was said of each row, result.json and docs/index.html.

    Nothing is decoded: other floors judge a million rows in seconds.

    Raises:
        DataRejected: the suite failed; all but the examples is written.
        InputInvalid: the set, its embeddings or a benchmark is missing or damaged.
        ResourceUnavailable: the disk is full.
    """
    arrays = SetEmbeddings.load(embeddings)
    scored, chosen = read_held_out(sorted(path.parent for path in benchmarks.glob("*/benchmark.json")))
    judged = Judged(open_set(folder), arrays, HeldOut(shorten_digests(scored), shorten_digests(chosen)))
    judged.require_same_rows()
    if params.floors and arrays.encoder.joint is None:
        why = arrays.encoder.explain_no_joint_text()
        tqdm.write(f"the filters that look at texts are left out, image_image judges alone: {why}", file=sys.stderr)
    with replace_folder(validated, "validation") as written:
        verdict, relations = write_verdicts(written, validate_rows(judged, params, validation, written / "docs"))
        examples = hashlib.sha256(verdict.accepted.tobytes())
        examples.update(relations.tobytes())
        described = {"set": arrays.manifest["set"], "examples": examples.hexdigest()}
        result = verdict.to_json() | described
        write_json(written / "result.json", result)
        write_pages(written / "docs", folder.name, result)
        if verdict.passed:
            write_examples(written, arrays, verdict.accepted, relations)
    if not verdict.passed:
        raise DataRejected(
            f"{folder} is not fit for training: {verdict.describe_reasons()}; "
            f"see {validated / 'quarantine.parquet'} and {validated / 'docs' / 'index.html'}"
        )
