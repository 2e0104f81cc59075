"""From a query to the embedding of the picture it asks for (arXiv 2303.11916, section 4.3).

Shapes: B queries, S draws, D embedding width, L tokens.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from compodiff.embeddings.masking import MASK_SIZE, blanked
from compodiff.encoders import Encoder, EncoderManifest, TextEncoding, load_encoder, require_same
from compodiff.errors import CheckpointMismatch, InputInvalid
from compodiff.model.checkpoint import ModelCard, load_model
from compodiff.model.context import PackedText
from compodiff.model.denoiser import Denoiser
from compodiff.model.inference import for_inference
from compodiff.model.query import Conditions, SamplerOptions
from compodiff.model.sampler import compose_draws
from compodiff.params import SamplingParams

Reference = Image.Image | NDArray[np.float32] | str | None

_SEEDS = 2**63
_SAME_SHAPE = 0.02  # relative difference of two aspect ratios that rounding a resized picture explains


@dataclass(frozen=True)
class ComposedQuery:
    """A reference and what is to be different; at least one of reference and text.

    Attributes:
        reference: a picture, the id of a picture of the index, an embedding (D,) such as the answer to another query,
            or None for a query by text alone.
        relative_caption: what to change; "" for pictures like the reference.
        negative_text: what the answer should not be like.
        mask: white where the reference is to be replaced; of the reference's shape.
        w_image, w_text, num_inference_steps, draws, reference_mixing: this query's own dials; None is the model's.
        seed: of the noise; None is the model's.
        k: how many pictures to return.
    """

    reference: Reference = None
    relative_caption: str = ""
    negative_text: str = ""
    mask: Image.Image | None = None
    w_image: float | None = None
    w_text: float | None = None
    num_inference_steps: int | None = None
    draws: int | None = None
    reference_mixing: float | None = None
    seed: int | None = None
    k: int = 10

    @property
    def has_text(self) -> bool:
        """Whether it says anything; a negative text alone is said against the empty text."""
        return bool(self.relative_caption or self.negative_text)


class Composer:
    """A composed model and its encoder."""

    def __init__(self, encoder: Encoder, denoiser: Denoiser, card: ModelCard, sampling: SamplingParams) -> None:
        self.encoder, self.denoiser, self.card, self.sampling = encoder, denoiser, card, sampling

    @classmethod
    def load(cls, model: Path, encoder: Path) -> "Composer":
        """Read a model folder and the encoder it works with; the card's section `sampling` gives the dials.

        Raises:
            CheckpointMismatch: the model folder is damaged, or its card does not say how it is sampled.
            EncoderMismatch: the model was trained on embeddings of another encoder.
            InputInvalid: the encoder's folder holds none.
        """
        denoiser, card = load_model(model)
        if card.encoder is None or "sampling" not in card.trained_with:
            raise CheckpointMismatch(
                f"the card of {model} lacks its encoder or sampling; make it by: dvc repro train_composed"
            )
        loaded = load_encoder(encoder)
        require_same(loaded.manifest, EncoderManifest.from_json(card.encoder), f"the model {model}")
        sampling = SamplingParams.model_validate(card.trained_with["sampling"])
        return cls(loaded, for_inference(denoiser, sampling.precision), card, sampling)

    def options(self, query: ComposedQuery) -> SamplerOptions:
        """How this query is sampled: its own dials over the model's.

        Raises:
            InputInvalid: a dial is out of its range.
        """
        mixing = query.reference_mixing
        return SamplerOptions.of(
            self.sampling,
            w_image=query.w_image,
            w_text=query.w_text,
            num_inference_steps=query.num_inference_steps,
            draws=query.draws,
            reference_mixing=mixing,
            masked_reference_mixing=mixing,
        )

    def compose(self, queries: Sequence[ComposedQuery]) -> Tensor:
        """The composed embeddings (B, D): the mean over the draws; see `compose_draws`."""
        return torch.stack([draws.mean(0) for draws in self.compose_draws(queries)])

    def compose_draws(self, queries: Sequence[ComposedQuery]) -> list[Tensor]:
        """Every draw of every query, raw, B times (S, D); a query's answer does not depend on the others.

        Raises:
            InputInvalid: a query has neither reference nor text, a mask without a picture, a dial or seed out of range,
                or a reference that is only an id (`Searcher` looks ids up).
        """
        batches: dict[tuple[SamplerOptions, bool, bool], list[int]] = {}
        for place, query in enumerate(queries):
            kind = (self.options(query), query.has_text, query.reference is not None)
            batches.setdefault(kind, []).append(place)
        answers: dict[int, Tensor] = {}
        for (options, _, _), places in batches.items():
            alike = [queries[place] for place in places]
            answers.update(zip(places, self._compose_alike(alike, options), strict=True))
        return [answers[place] for place in range(len(queries))]

    def _compose_alike(self, queries: Sequence[ComposedQuery], options: SamplerOptions) -> Tensor:
        """Queries that all or none have a text, and a reference -> (B, S, D)."""
        seeds = [self.sampling.seed if query.seed is None else query.seed for query in queries]
        if not all(0 <= seed < _SEEDS for seed in seeds):
            raise InputInvalid(
                f"a seed is {next(seed for seed in seeds if not 0 <= seed < _SEEDS)}; take 0 to 2^63 - 1"
            )
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        return compose_draws(self.denoiser, self._conditions(queries), options, generators, self.card.process)

    def _conditions(self, queries: Sequence[ComposedQuery]) -> Conditions:
        if not queries[0].has_text and queries[0].reference is None:
            raise InputInvalid("a query has neither a reference nor a text; give at least one")
        said = [query.relative_caption for query in queries]
        unsaid = [query.negative_text for query in queries]
        texts = list(dict.fromkeys([*unsaid, *(said if queries[0].has_text else [])]))
        encoding = self.encoder.encode_texts(texts)
        null_text = unsaid if len(set(unsaid)) > 1 else unsaid[:1]
        cells = [None if query.mask is None else self._mask_cells(query) for query in queries]
        return Conditions(
            null_text=_packed(encoding, [texts.index(text) for text in null_text]),
            text=_packed(encoding, [texts.index(text) for text in said]) if queries[0].has_text else None,
            image=None if queries[0].reference is None else self._reference_embeddings(queries, cells),
            mask=_stacked(cells),
        )

    def _mask_cells(self, query: ComposedQuery) -> Tensor:
        if query.mask is None or not isinstance(query.reference, Image.Image):
            raise InputInvalid("a mask needs the reference as a picture, the one it was drawn on")
        return mask_cells(query.mask, query.reference, self.encoder)

    def _reference_embeddings(self, queries: Sequence[ComposedQuery], cells: Sequence[Tensor | None]) -> Tensor:
        """(B, D); pictures are encoded together, a masked one with its masked region blanked."""
        embeddings: dict[int, Tensor] = {}
        pixels: dict[int, Tensor] = {}
        for place, (query, masked) in enumerate(zip(queries, cells, strict=True)):
            if not isinstance(query.reference, Image.Image):
                embeddings[place] = self._given(query.reference)
                continue
            whole = self.encoder.preprocess(query.reference)
            pixels[place] = whole if masked is None else blanked(whole[None], masked[None])[0]
        if pixels:
            encoded = self.encoder.encode_pixels(torch.stack(list(pixels.values())))
            embeddings.update(zip(pixels, encoded, strict=True))
        return torch.stack([embeddings[place] for place in range(len(queries))])

    def _given(self, reference: Reference) -> Tensor:
        """The embedding (D,) that stands in for a picture."""
        if not isinstance(reference, np.ndarray):
            raise InputInvalid(f"the reference {reference!r} is an id; hand in the picture, or search an index")
        dim = self.encoder.manifest.embedding_dim
        if reference.shape != (dim,):
            raise InputInvalid(f"the reference embedding has the shape {reference.shape}, the encoder makes ({dim},)")
        return torch.from_numpy(reference.astype(np.float32)).to(self.encoder.device)


def mask_cells(mask: Image.Image, reference: Image.Image, encoder: Encoder) -> Tensor:
    """Which of the 64 x 64 cells of the picture that the encoder sees a mask covers by more than half.

    Args:
        mask: white (and opaque) where the reference is to be replaced.
        reference: the picture that the mask was drawn on; the mask may be larger or smaller, but of the same shape.
        encoder: whose resizing and cropping the mask shares.

    Returns:
        (64, 64) bool.

    Raises:
        InputInvalid: the mask has another shape than the reference, or covers no cell.
    """
    ratio = (mask.width * reference.height) / (mask.height * reference.width)
    if abs(ratio - 1) > _SAME_SHAPE:
        raise InputInvalid(
            f"the mask is {mask.width} x {mask.height}, the reference {reference.width} x {reference.height}; "
            "draw the mask on the reference"
        )
    ground = Image.new("RGBA", mask.size, "black")
    painted = Image.alpha_composite(ground, mask.convert("RGBA")).convert("L").point(lambda value: 255 * (value > 127))
    channel = encoder.preprocess(painted)[0] * encoder.manifest.std[0] + encoder.manifest.mean[0]
    cells = adaptive_avg_pool2d(channel[None], MASK_SIZE)[0] > 0.5
    if not bool(cells.any()):
        raise InputInvalid("the mask marks nothing of the reference; paint white what is to be replaced")
    return cells


def _stacked(cells: Sequence[Tensor | None]) -> Tensor | None:
    """(B, 64, 64), empty where a query has no mask; None where no query has one."""
    if all(masked is None for masked in cells):
        return None
    empty = torch.zeros(MASK_SIZE, MASK_SIZE, dtype=torch.bool)
    return torch.stack([empty if masked is None else masked for masked in cells])


def _packed(encoding: TextEncoding, rows: Sequence[int]) -> PackedText:
    return PackedText.pack(encoding.tokens[rows], encoding.mask[rows])
