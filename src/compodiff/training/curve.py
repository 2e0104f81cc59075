"""How well the average network answers validation queries while it trains, as points of a curve.

Legend: Q queries, G pictures of the gallery, D embedding width.
"""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from compodiff.embeddings.set_arrays import SetEmbeddings
from compodiff.embeddings.token_arrays import TextTokens, TokenArrays, name_array
from compodiff.errors import InputInvalid
from compodiff.model.network.composing import ComposingNetwork
from compodiff.model.network.context import PackedText
from compodiff.model.sampling.process import Process
from compodiff.model.sampling.query import Conditions, SamplerOptions
from compodiff.model.sampling.sampler import compose
from compodiff.storage.arrays import open_archive
from compodiff.storage.atomic import replace_path
from compodiff.training.examples import IMAGE, NOTHING, NULL_TEXT, TARGET, TEXT, SetExamples

RECALLED = 10
_GALLERY_FROM_TRAINING = 10_000  # pictures that validation queries must not find
_GALLERY_FROM_VALIDATION = 10_000  # examples whose pictures are ranked, beside those of the queries
# One call without guidance: what the network itself has learned, however queries are to be answered later.
ONE_CALL = SamplerOptions(
    num_inference_steps=1,
    solver="mean",
    grid="trailing",
    eta=0.0,
    w_image=1.0,
    w_text=1.0,
    draws=1,
    reference_mixing=0.0,
    masked_reference_mixing=0.0,
)


@dataclass(frozen=True)
class CurvePoint:
    """One row of the curve's CSV.

    Attributes:
        step: steps taken.
        loss: mean since the point before.
        cosine: of the answers to the nearest of their targets, mean over the validation queries.
        recall_at_10: of those queries, the part that has a target among the ten nearest pictures.
        learning_rate: of the last step.
        samples_per_second: rows a second since the point before.
    """

    step: int
    loss: float
    cosine: float
    recall_at_10: float
    learning_rate: float
    samples_per_second: float

    def list_metrics(self) -> dict[str, float]:
        """List all but the step."""
        values = asdict(self)
        del values["step"]
        return values


def write_curve(path: Path, points: Sequence[CurvePoint]) -> None:
    """Write the whole curve, or nothing."""
    with replace_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(CurvePoint)], lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(point) for point in points)


def read_seconds(path: Path, rows_per_step: int) -> float:
    """Return the seconds that the steps of a curve took, without those of validation.

    Raises:
        InputInvalid: the file is missing or damaged.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            points = [(int(point["step"]), float(point["samples_per_second"])) for point in csv.DictReader(file)]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputInvalid(
            f"{path} is no curve of a training ({error}); remove it and its model, and run again"
        ) from error
    before = [0, *(step for step, _ in points)]
    return sum((step - last) * rows_per_step / speed for (step, speed), last in zip(points, before, strict=False))


@dataclass(frozen=True)
class CurveQueries:
    """The queries that a training is measured on, as arrays of curve.npz.

    Attributes:
        texts: token states of the Q texts.
        null_text: token states of the empty text.
        references: (Q, D), or (0, D) where queries have no reference.
        gallery: (G, D) the pictures that are ranked.
        hits: (K, 2) query and picture of the gallery that answers it.
        own: (Q,) the reference's place in the gallery, which is taken out of the ranking; NOTHING where it has none.
    """

    texts: TextTokens
    null_text: TextTokens
    references: NDArray[np.float32]
    gallery: NDArray[np.float32]
    hits: NDArray[np.int64]
    own: NDArray[np.int64]

    def save(self, path: Path) -> None:
        """Write the arrays, whole or not at all; those of texts are called tokens, lengths and null_tokens."""
        arrays: dict[str, NDArray[Any]] = {}
        for part, (own, null) in enumerate(zip(self.texts, self.null_text, strict=True)):
            named: dict[str, NDArray[Any]] = {"tokens": own.tokens, "lengths": own.lengths, "null_tokens": null.tokens}
            arrays |= {name_array(name, part): array for name, array in named.items()}
        arrays |= {name: getattr(self, name) for name in _OTHER_ARRAYS}
        with replace_path(path) as temporary, temporary.open("wb") as file:
            np.savez(file, allow_pickle=False, **arrays)

    @classmethod
    def load(cls, path: Path) -> "CurveQueries":
        """Read the arrays.

        Raises:
            InputInvalid: the file is missing or damaged.
        """
        with open_archive(path, "run: dvc repro") as arrays:
            parts = range(sum(name.startswith("null_tokens") for name in arrays))
            texts, null_text = zip(*(_read_texts(arrays, part) for part in parts), strict=True)
            return cls(texts, null_text, **{name: arrays[name] for name in _OTHER_ARRAYS})


_OTHER_ARRAYS = ("references", "gallery", "hits", "own")


def _read_texts(arrays: Mapping[str, NDArray[Any]], part: int) -> tuple[TokenArrays, TokenArrays]:
    """Return the queries' texts and the empty text, as the text part with this number sees them."""
    tokens, lengths, null = (arrays[name_array(name, part)] for name in ("tokens", "lengths", "null_tokens"))
    return TokenArrays(tokens, lengths), TokenArrays(null, np.array([len(null)]))


def take_queries_of_set(embeddings: SetEmbeddings, validated: Path, most: int, seed: int) -> CurveQueries:
    """Take queries from the validation split of a set: its triplets, or its captions where it has none.

    Pictures of equal pixels count as one. The gallery is the pictures of these queries, of the rest of the validation
    split, or of some 10,000 of its examples where it is larger, and some of the training's.

    Args:
        embeddings: of the set.
        validated: folder of the validated set.
        most: queries, drawn by `seed`.
        seed: of the draw.

    Raises:
        InputInvalid: the set has no validation split.
    """
    held_out, trained = (
        SetExamples(validated.name, embeddings, validated / split) for split in ("validation", "train")
    )
    task = "triplet" if len(held_out.open_table("triplet")) else "text_to_image"
    table = np.array(held_out.open_table(task))
    if not len(table):
        raise InputInvalid(f"the set {validated.name} has no validation split; name another one for the curve")
    keys = embeddings.open_array("text_keys")[table[:, TEXT]]
    images = np.where(table[:, IMAGE] == NOTHING, 0, _read_digests(embeddings, table[:, IMAGE]))
    _, query_first, query_of = np.unique(
        np.stack([keys, images], axis=1), axis=0, return_index=True, return_inverse=True
    )
    drawn = np.sort(np.random.default_rng(seed).permutation(len(query_first))[:most])
    number = np.full(len(query_first), NOTHING)
    number[drawn] = np.arange(len(drawn))
    of_query = number[query_of.reshape(-1)]  # (rows,) the drawn query that each row answers
    ranked = table[(of_query != NOTHING) | _spread(len(table), _GALLERY_FROM_VALIDATION)]
    others = trained.open_table(task)
    others = np.array(others[:: max(1, len(others) // _GALLERY_FROM_TRAINING), TARGET])
    shown = np.concatenate([ranked[:, TARGET], ranked[ranked[:, IMAGE] != NOTHING, IMAGE], others])
    # A picture's place in the gallery is its digest's.
    names, first = np.unique(_read_digests(embeddings, shown), return_index=True)
    gallery = embeddings.read_images(shown[first])
    answers = _read_digests(embeddings, table[of_query != NOTHING, TARGET])
    hits = np.stack([of_query[of_query != NOTHING], np.searchsorted(names, answers)], axis=1)
    asked = table[query_first[drawn]]
    has_reference = task == "triplet"
    references = embeddings.read_images(asked[:, IMAGE] if has_reference else [])
    own = np.full(len(asked), NOTHING)
    if has_reference:
        own = np.searchsorted(names, _read_digests(embeddings, asked[:, IMAGE]))
    texts, null_text = embeddings.read_tokens(asked[:, TEXT]), embeddings.read_tokens([NULL_TEXT])
    return CurveQueries(texts, null_text, references, gallery, np.unique(hits, axis=0), own)


def _spread(count: int, most: int) -> NDArray[np.bool_]:
    """Return (count,) True on all, or, where these are more than `most`, on about as many at equal distances."""
    spread: NDArray[np.bool_] = np.arange(count) % max(1, count // most) == 0
    return spread


def _read_digests(embeddings: SetEmbeddings, images: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Return the first 64 bits of the digests of images, (n,) -> (n,)."""
    head = np.ascontiguousarray(embeddings.open_array("digests")[images, :8])
    return head.view(np.uint64).reshape(-1)


@dataclass(frozen=True)
class GatheredQueries:
    """Queries as tensors.

    Attributes:
        conditions: of Q queries.
        is_target: (Q, G) True on every target of a query.
        is_reference: (Q, G) True on its reference, which is taken out of its ranking.
        gallery: (G, D) L2-normalised.
    """

    conditions: Conditions
    is_target: Tensor
    is_reference: Tensor
    gallery: Tensor


def gather_queries(queries: CurveQueries, device: torch.device) -> GatheredQueries:
    """Put queries on the device of the denoiser; what they rank stays on the CPU."""
    shape = (len(queries.own), len(queries.gallery))
    is_target, is_reference = torch.zeros(shape, dtype=torch.bool), torch.zeros(shape, dtype=torch.bool)
    is_target[queries.hits[:, 0], queries.hits[:, 1]] = True
    has_own = np.flatnonzero(queries.own != NOTHING)
    is_reference[has_own, queries.own[has_own]] = True
    return GatheredQueries(
        conditions=Conditions(
            null_text=PackedText.of_arrays(queries.null_text).place(device),
            text=PackedText.of_arrays(queries.texts).place(device),
            image=torch.from_numpy(queries.references).to(device) if len(queries.references) else None,
        ),
        is_target=is_target,
        is_reference=is_reference,
        gallery=functional.normalize(torch.from_numpy(queries.gallery), dim=-1),
    )


def measure(denoiser: ComposingNetwork, queries: GatheredQueries, process: Process, *, seed: int) -> dict[str, float]:
    """Answer the queries by one network call each: their cosine and recall_at_10, as `CurvePoint` says."""
    answers = compose(denoiser, queries.conditions, ONE_CALL, torch.Generator().manual_seed(seed), process).cpu()
    scores = functional.normalize(answers, dim=-1) @ queries.gallery.T
    best = scores.masked_fill(~queries.is_target, -torch.inf).amax(1)
    better = (scores > best[:, None]) & ~queries.is_reference
    return {
        "cosine": float(best.mean()),
        "recall_at_10": float((better.sum(1) < RECALLED).float().mean()),
    }
