"""Any encoder with a joint space learns to compose, from captions alone. Run: compodiff adapt --encoder NAME.

TO/composed/, encoder/, sampling.json   the model; `compodiff search --model TO`
TO/index/           over the pictures, where some were given
TO/metrics/         figures on held-out captions, and on the pictures
TO/training.csv       of the training
TO/adapted.json     what it was made of; written last
TO/work/            what a killed run goes on from; deleted when the model is there
"""

import shutil
import sys
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from compodiff.adaptation.figures import measure_captions, measure_pictures
from compodiff.adaptation.gap import Gap
from compodiff.adaptation.pairs import CAPTIONS, COUNTED, PAIRS, TAGGED, make_pairs
from compodiff.adaptation.starting import keep_encoder, open_encoder, read_gap_pictures
from compodiff.adaptation.training import COMPOSED, CURVE, train_on_captions
from compodiff.adaptation.triplets import VECTORS, embed_captions, list_captions, write_triplets
from compodiff.captions.caption_sets import stamp_files
from compodiff.encoders import MEMO
from compodiff.index.manifest import KIND as OF_INDEX
from compodiff.model.checkpoint import KIND as MODEL
from compodiff.model.dials import FILE as DIALS
from compodiff.params import Params
from compodiff.search.locate import ModelParts
from compodiff.stages.finetune import copy_encoder
from compodiff.stages.register_folder import register_folder
from compodiff.storage.atomic import open_work_folder, replace_folder, write_json
from compodiff.storage.claims import claim_folder
from compodiff.storage.json_files import read_json
from compodiff.storage.ownership import delete_folder, delete_inside
from compodiff.tracking.figures import list_results

KIND, WORK = "adapted model", "work of adapt"
ADAPTED, METRICS, INDEX = "adapted.json", "metrics", "index"
_OWN = (COMPOSED, "encoder", INDEX, f"{INDEX}.parts", "work", CURVE, DIALS, METRICS, ADAPTED)
_IN_WORK = (
    *("encoder", f"{MEMO}*", CAPTIONS, COUNTED, PAIRS, TAGGED, VECTORS),
    *("sets", "embeddings", "validation", COMPOSED, f"{COMPOSED}.partial*", CURVE),
)


@dataclass(frozen=True)
class Adaptation:
    """What is asked for.

    Attributes:
        project: whose params.yaml says how, and where the run is recorded.
        params: of the project.
        encoder: a folder of one, or the name of a model that is one.
        weights: of a model of open_clip's list.
        captions: a list; None: our grammar's.
        pictures: a folder; None: none.
        to: the folder to write.
    """

    project: Path
    params: Params
    encoder: str
    weights: str | None
    captions: Path | None
    pictures: Path | None
    to: Path

    def describe(self, encoder: Mapping[str, Any]) -> dict[str, Any]:
        """Return as JSON types what the model depends on, but for the content of pictures."""
        sections = ("adaptation", "composed", "captions", "denoiser", "embedding", "sampling")
        return {
            "encoder": dict(encoder),
            "captions": None if self.captions is None else stamp_files(self.captions),
            "pictures": None if self.pictures is None else str(self.pictures.resolve()),
            "params": {name: getattr(self.params, name).model_dump() for name in sections},
        }


def adapt(asked: Adaptation) -> dict[str, Any]:
    """Make a composed model, or go on where a killed run was; return what adapted.json holds.

    Raises:
        InputInvalid: the encoder has no joint space, or captions or pictures cannot be used; or `to` is somebody's.
        ResourceUnavailable: the encoder is not on this machine, or the disk is full.
        DataRejected, ParamsInvalid, CheckpointMismatch: see `validate` and `fit`.
    """
    to, params = open_work_folder(asked.to, KIND, _OWN), asked.params
    encoder = open_encoder(asked.encoder, asked.weights)
    described = asked.describe(encoder.manifest.identify())
    if (to / ADAPTED).is_file() and read_json(to / ADAPTED)["made_of"] == described:
        return dict(read_json(to / ADAPTED))
    delete_inside(to / ADAPTED)  # it tells of another model than the one that will be here
    if asked.pictures is None:
        delete_folder(to / INDEX, OF_INDEX)  # of an earlier run, perhaps by another encoder
    work = to / "work"
    claim_folder(work, described, WORK, _IN_WORK)
    encoder = keep_encoder(encoder, asked.encoder, work / "encoder").prepare_for_many().remember_in(work / MEMO)
    pictures = read_gap_pictures(asked.project, params, encoder, asked.pictures, to / INDEX)
    pairs = make_pairs(work, asked.captions, encoder, work / "encoder", params)
    vectors = embed_captions(list_captions(pairs), work / "encoder")
    there = pictures.vectors[:, : encoder.manifest.learned_dim]
    gap = Gap.measure(np.stack([*vectors.values()]), there, moved=params.adaptation.gap != "none")
    write_triplets(work, pairs, vectors, gap, params.adaptation, encoder.manifest)
    train_on_captions(asked.project, params, work)
    model = work / COMPOSED
    figures = {"captions": measure_captions(pairs, vectors, gap, model, encoder, params)}
    if asked.pictures is not None:
        figures["pictures"] = measure_pictures(to / INDEX, model, encoder, params)
    measured = {name: own for name, own in figures.items() if own is not None}
    of_gap = gap.describe() | {"pictures": pictures.source}
    content = {"made_of": described, "gap": of_gap, "figures": measured, "registration": uuid.uuid4().hex}
    _put_in_place(work, to, params, content)
    return content


def _put_in_place(work: Path, to: Path, params: Params, content: Mapping[str, Any]) -> None:
    """Copy the model out of the work folder, write what belongs to it, and delete the work folder."""
    with replace_folder(to / COMPOSED, MODEL) as temporary:
        shutil.copytree(work / COMPOSED, temporary, ignore=shutil.ignore_patterns(".*"), dirs_exist_ok=True)
    copy_encoder(work / "encoder", to / "encoder")
    shutil.copyfile(work / CURVE, to / CURVE)
    write_json(to / DIALS, params.sampling.model_dump())
    with replace_folder(to / METRICS, METRICS) as temporary:
        for name, own in content["figures"].items():
            write_json(temporary / f"{name}.json", own)
    write_json(to / ADAPTED, content)
    delete_folder(work, WORK)


def register_adapted(asked: Adaptation) -> str | None:
    """Register the model that `adapt` made as the challenger, once; return its version, None where it has no index.

    Raises:
        ResourceUnavailable: MLflow cannot be reached, or the disk is full.
    """
    done = asked.to / ADAPTED
    content: dict[str, Any] = read_json(done)
    gallery = asked.project / "artifacts" / "benchmarks" / asked.params.index.gallery
    if "version" not in content:
        if not (asked.to / INDEX).is_dir() and not gallery.is_dir():
            tqdm.write("not registered: there is no gallery to index; --pictures FOLDER gives one", file=sys.stderr)
            return None
        results = list_results(asked.to / METRICS)
        # A run that is killed here asks for the same registration again.
        registered = register_folder(asked.project, ModelParts(asked.to), results, content.get("registration", ""))
        content["version"] = registered.number
        write_json(done, content)
    return str(content["version"])
