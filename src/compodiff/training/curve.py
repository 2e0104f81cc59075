"""How well the average network answers validation queries while it trains, as points of a curve.

Legend: Q queries, G pictures of the gallery, D embedding width.
"""

import csv
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from compodiff.embeddings import Embeddings
from compodiff.errors import InputInvalid
from compodiff.model.network.context import PackedText
from compodiff.model.network.denoiser import Denoiser
from compodiff.model.sampling.process import Process
from compodiff.model.sampling.query import Conditions, SamplerOptions
from compodiff.model.sampling.sampler import compose
from compodiff.storage.atomic import replace_path
from compodiff.training.batches import NULL_TEXT

RECALLED = 10
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
        """All but the step."""
        values = asdict(self)
        del values["step"]
        return values


def write_curve(path: Path, points: Sequence[CurvePoint]) -> None:
    """Write the whole curve, or nothing."""
    with replace_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(CurvePoint)], lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(point) for point in points)


@dataclass(frozen=True)
class ValidationQuery:
    """A text and perhaps a reference, which any of the targets answers; pictures by id."""

    text: str
    targets: tuple[str, ...]
    reference: str | None = None


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


def gather_queries(
    embeddings: Embeddings, queries: Sequence[ValidationQuery], gallery: Sequence[str], device: torch.device
) -> GatheredQueries:
    """Gather the embeddings of queries.

    Args:
        embeddings: of all texts and pictures that the queries name.
        queries: all with a reference, or all without.
        gallery: the picture ids that are ranked.
        device: where the denoiser is.

    Raises:
        InputInvalid: there is no query, or one names a picture or text that has no embedding.
    """
    if not queries:
        raise InputInvalid("there is no validation query; run: dvc repro --single-item assemble_benchmark")
    position = {picture_id: number for number, picture_id in enumerate(gallery)}
    is_target = torch.zeros(len(queries), len(gallery), dtype=torch.bool)
    is_reference = torch.zeros_like(is_target)
    try:
        for number, query in enumerate(queries):
            is_target[number, [position[target] for target in query.targets]] = True
            is_reference[number, [position[query.reference]] if query.reference in position else []] = True
        texts = [embeddings.text_row[query.text] for query in queries]
        references = [embeddings.picture_row[query.reference] for query in queries if query.reference is not None]
        pictures = [embeddings.picture_row[picture_id] for picture_id in gallery]
    except KeyError as error:
        raise InputInvalid(
            f"a validation query names {error}, which is not embedded or not in the gallery; "
            "run: dvc repro --single-item embed"
        ) from error
    return GatheredQueries(
        conditions=Conditions(
            null_text=_pack_texts(embeddings, [NULL_TEXT], device),
            text=_pack_texts(embeddings, texts, device),
            image=torch.from_numpy(embeddings.pictures[references]).to(device) if references else None,
        ),
        is_target=is_target,
        is_reference=is_reference,
        gallery=functional.normalize(torch.from_numpy(embeddings.pictures[pictures]), dim=-1),
    )


def measure(denoiser: Denoiser, queries: GatheredQueries, process: Process, *, seed: int) -> dict[str, float]:
    """Answer the queries by one network call each: their cosine and recall_at_10, as `CurvePoint` says."""
    answers = compose(denoiser, queries.conditions, ONE_CALL, torch.Generator().manual_seed(seed), process).cpu()
    scores = functional.normalize(answers, dim=-1) @ queries.gallery.T
    best = scores.masked_fill(~queries.is_target, -torch.inf).amax(1)
    better = (scores > best[:, None]) & ~queries.is_reference
    return {
        "cosine": float(best.mean()),
        "recall_at_10": float((better.sum(1) < RECALLED).float().mean()),
    }


def _pack_texts(embeddings: Embeddings, rows: Sequence[int], device: torch.device) -> PackedText:
    tokens, lengths = embeddings.read_tokens(rows)
    return PackedText(torch.from_numpy(tokens).float().to(device), torch.from_numpy(lengths).to(device))
