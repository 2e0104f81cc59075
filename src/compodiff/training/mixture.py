"""The folder artifacts/mixtures/STAGE: what a training learns from and is measured on, checked before hours are spent.

    mixture.json   task -> set -> share and number of examples; a digest of each set's examples and embeddings
    curve.npz      the queries that the training is measured on, and the pictures that they rank

Training reads the sets where they are; these two files change whenever something does that its result depends on, and
not when another set is added.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from compodiff.embeddings.set_arrays import SetEmbeddings
from compodiff.embeddings.text_tower import TextTower
from compodiff.encoders.manifest import require_same
from compodiff.errors import InputInvalid
from compodiff.params import TaskShares
from compodiff.storage.json_files import read_json
from compodiff.training.examples import TASKS, Mixture, SetExamples
from compodiff.training.resume import digest

FILE = "mixture.json"
CURVE = "curve.npz"
_MEASURED = 256  # embeddings of a set, about
_MOST_LONGER = 2.0  # times; odd or small sets of one encoder differ as much, but not each picture alike
_ALIKE = 0.01  # share of their length by which those of normalised embeddings differ at most, in float16


def describe_mixture(tasks: TaskShares, embeddings: Path, validated: Path) -> dict[str, Any]:
    """Check the sets that tasks name, and return the content of mixture.json.

    Args:
        tasks: the shares.
        embeddings: folder of the embeddings of sets.
        validated: folder of the validated sets.

    Raises:
        InputInvalid: a set has no example of a task that draws from it, or is not there, or its embeddings have
            another length than those of the other sets.
        EncoderMismatch: two sets were embedded by different encoders.
    """
    sets = {name: _open_examples(name, embeddings, validated) for name in tasks.sets}
    encoder = next(iter(sets.values())).embeddings.encoder
    described: dict[str, dict[str, dict[str, float]]] = {}
    for task, shares in tasks.by_task.items():
        described[task] = {}
        for name, share in shares.items():
            require_same(encoder, sets[name].embeddings.encoder, f"the embeddings of the set {name}")
            count = len(sets[name].open_table(task))
            if not count:
                raise InputInvalid(
                    f"the set {name} has no example of the task {task}, which draws {share:g} of a batch from it; "
                    f"name a set of {_NEEDED[task]}, or take it out of params.yaml"
                )
            described[task][name] = {"share": share, "examples": count}
    _require_like_lengths(sets)
    digests = {name: _digest_set(name, embeddings, validated) for name in sets}
    return {"tasks": described, "sets": digests, "encoder": encoder.identify()}


def load_mixture(folder: Path, embeddings: Path, validated: Path, tower: TextTower | None = None) -> Mixture:
    """Open what a training learns from; `tower` computes token states where a set stores none.

    Raises:
        InputInvalid: a set was made anew or removed since the mixture was checked.
    """
    content = read_json(folder / FILE)
    changed = [name for name, old in content["sets"].items() if _digest_set(name, embeddings, validated) != old]
    if changed:
        raise InputInvalid(f"the set {changed[0]} is not the one that was checked; run: dvc repro")
    return _open_mixture(content, embeddings, validated, tower)


def make_mixture(tasks: TaskShares, embeddings: Path, validated: Path, tower: TextTower | None = None) -> Mixture:
    """Check the sets that tasks name, as `describe_mixture` does, and open them as `load_mixture` does.

    Raises:
        InputInvalid, EncoderMismatch: see `describe_mixture`.
    """
    return _open_mixture(describe_mixture(tasks, embeddings, validated), embeddings, validated, tower)


def _open_mixture(content: Mapping[str, Any], embeddings: Path, validated: Path, tower: TextTower | None) -> Mixture:
    sets = tuple(_open_examples(name, embeddings, validated, tower) for name in content["sets"])
    shares = {task: {name: each["share"] for name, each in content["tasks"][task].items()} for task in TASKS}
    return Mixture(sets, shares, digest([json.dumps(content, sort_keys=True).encode()]))


def _require_like_lengths(sets: Mapping[str, SetExamples]) -> None:
    """Refuse sets of which some hold embeddings of unit length, as clip-retrieval writes them, and others as made."""
    lengths, alike = dict[str, float](), set[str]()
    for name, examples in sets.items():
        images = examples.embeddings.images  # (N, D)
        some = np.linalg.norm(np.asarray(images[:: max(1, len(images) // _MEASURED)], np.float32), axis=1)
        lengths[name] = float(np.median(some)) if len(some) else 0.0
        if len(some) and np.ptp(some) <= _ALIKE * lengths[name]:
            alike.add(name)
    short, long = min(lengths, key=lengths.__getitem__), max(lengths, key=lengths.__getitem__)
    if lengths[short] * _MOST_LONGER < lengths[long] and alike & {short, long}:
        raise InputInvalid(
            f"pictures of the set {short} have embeddings of length {lengths[short]:.3g}, those of {long} of "
            f"{lengths[long]:.3g}: one was normalised; import it with --length {lengths[long]:.3g}"
        )


_NEEDED: Mapping[str, str] = {
    "text_to_image": "pairs, or of triplets with captions",
    "masked": "pairs with masks, or with masks_per_picture above 0, or of triplets with masks",
    "triplet": "triplets",
}


def _open_examples(name: str, embeddings: Path, validated: Path, tower: TextTower | None = None) -> SetExamples:
    return SetExamples(name, SetEmbeddings.load(embeddings / name, tower=tower), validated / name / "train")


def _digest_set(name: str, embeddings: Path, validated: Path) -> str:
    """Return what changes whenever an example of a set or an embedding behind it does."""
    manifest, result = embeddings / name / "manifest.json", validated / name / "result.json"
    for path in (manifest, result):
        if not path.is_file():
            raise InputInvalid(f"{path} is not there; run: dvc repro embed@{name} validate@{name}")
    return digest([manifest.read_bytes(), result.read_bytes()])
