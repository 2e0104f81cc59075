"""From a query to the embedding of the picture it asks for (arXiv 2303.11916, section 4.3).

Shapes: B queries, S draws, D embedding width.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from compodiff.embeddings.drawn_masks import check_cells, compute_cells, stack_masks
from compodiff.embeddings.masking import blank_masked
from compodiff.encoders import Encoder, EncoderManifest, load_encoder, require_same
from compodiff.errors import CheckpointMismatch, InputInvalid
from compodiff.index.encoded import encode_pixels
from compodiff.language.wishes import read_wish
from compodiff.model.checkpoint import WEIGHTS, ModelCard, load_model
from compodiff.model.dials import read_dials
from compodiff.model.inference import prepare_for_inference
from compodiff.model.network.composing import ComposingNetwork
from compodiff.model.sampling.classes import ClassConditions, TextWishes
from compodiff.model.sampling.edits import EditConditions
from compodiff.model.sampling.query import Conditions, SamplerOptions
from compodiff.model.sampling.sampler import compose_draws
from compodiff.params import SamplingParams
from compodiff.precision import choose_device
from compodiff.search.progress import PhaseTimer
from compodiff.search.query import Blend, Mode, PreparedQuery, Query, Reference, ReferencePart
from compodiff.search.texts import TextCache, pack_texts
from compodiff.sets.blank import is_blank

_LONGEST = 1e6  # of a reference's embedding: CLIP's are about 10, and beyond 1e19 nothing can be computed with one


@dataclass(frozen=True)
class Composition:
    """The answer to a query: its draws, raw (S, D), and the embedding (D,) of the reference they start from."""

    draws: Tensor
    reference: Tensor | None


class Composer:
    """A composed model and its encoder."""

    def __init__(
        self,
        encoder: Encoder,
        denoiser: ComposingNetwork,
        card: ModelCard,
        sampling: SamplingParams,
        weights: Path | None = None,
    ) -> None:
        """Join the parts; `weights` is the file of the denoiser's, where it came from one."""
        self.weights = weights
        self.encoder, self.denoiser, self.card, self.sampling = encoder, denoiser, card, sampling
        self._texts = TextCache(encoder)

    @classmethod
    def load(cls, model: Path, encoder: Path) -> "Composer":
        """Read a model folder and the encoder it works with, onto the GPU where there is one; see `read_dials`.

        Raises:
            CheckpointMismatch: the model folder is damaged, or its card does not say how it is sampled.
            EncoderMismatch: the model was trained on embeddings of another encoder.
            InputInvalid: the encoder's folder holds none.
        """
        denoiser, card = load_model(model)
        if card.encoder is None or (sampling := read_dials(model, card)) is None:
            raise CheckpointMismatch(
                f"the card of {model} lacks its encoder, or nothing says its dials; "
                "run: dvc repro train_composed set_dials"
            )
        loaded = load_encoder(encoder, whole=torch.cuda.is_available()).move_to_gpu()
        require_same(loaded.manifest, EncoderManifest.from_json(card.encoder), f"the model {model}")
        ready = prepare_for_inference(denoiser, sampling.precision, choose_device())
        return cls(loaded, ready, card, sampling, model / WEIGHTS)

    def prepare(self, query: Query) -> PreparedQuery:
        """Check a query and make pixels of its pictures and cells of its mask; the model does not run.

        Raises:
            InputInvalid: a query has neither reference nor text, a mask without a picture, a dial or seed out of range,
                a reference that is only an id (`Searcher` looks ids up), or it goes by a text's own embedding and the
                encoder makes none.
        """
        query.require()
        if query.mode == "text":
            self.encoder.manifest.require_joint_text("the mode text goes by a text's own embedding")
        if not is_blank(query.subtract):
            self.encoder.manifest.require_joint_text("what is subtracted is a text's own embedding")
        options = self._choose_options(query)
        steps = self.card.process.num_train_timesteps
        if options.num_inference_steps > steps:
            raise InputInvalid(f"num_inference_steps is {options.num_inference_steps}; take a number from 1 to {steps}")
        asked = replace(query, reference=self._convert_reference(query.reference), mask=self._find_cells(query))
        return PreparedQuery(asked, options)

    def _choose_options(self, query: Query) -> SamplerOptions:
        """Return how a query is sampled: its own dials over the model's; a regressor is asked once."""
        mixing = query.reference_mixing
        return SamplerOptions.of(
            self.sampling,
            w_image=query.w_image,
            w_text=query.w_text,
            num_inference_steps=1 if self.card.process.objective == "regression" else query.num_inference_steps,
            draws=query.draws,
            reference_mixing=mixing,
            masked_reference_mixing=mixing,
        )

    def compose(self, queries: Sequence[Query]) -> Tensor:
        """Return the composed embeddings (B, D): the mean over the draws; see `compose_draws`."""
        return torch.stack([draws.mean(0) for draws in self.compose_draws(queries)])

    def compose_draws(self, queries: Sequence[Query]) -> list[Tensor]:
        """Return every draw of every query, raw, B times (S, D); see `compose_all`."""
        prepared = [self.prepare(query) for query in queries]
        return [composition.draws for composition in self.compose_all(prepared, PhaseTimer())]

    def compose_all(
        self, queries: Sequence[PreparedQuery], watch: PhaseTimer, gallery: float | None = None
    ) -> list[Composition]:
        """Answer prepared queries together; none depends on the others.

        Args:
            queries: of any kinds.
            watch: times "encode" and "sample".
            gallery: that is searched, see `measure_gallery`.
        """
        batches: dict[tuple[Mode, SamplerOptions, bool, bool], list[int]] = {}
        for place, query in enumerate(queries):
            kind = (query.asked.mode, query.options, query.asked.has_text, query.asked.reference is not None)
            batches.setdefault(kind, []).append(place)
        answers: dict[int, Composition] = {}
        for (_, options, *_), places in batches.items():
            alike = self._compose_alike([queries[place].asked for place in places], options, watch, gallery)
            answers.update(zip(places, alike, strict=True))
        return [answers[place] for place in range(len(queries))]

    def trace(self, query: PreparedQuery, gallery: float | None = None) -> tuple[list[Tensor], Composition]:
        """Return where the sampler stands, raw draws (S, D), before each step from the noise on, and the answer.

        Args:
            query: any.
            gallery: that is searched, see `measure_gallery`.
        """
        calls: list[Tensor] = []
        (answer,) = self.compose_all([query], PhaseTimer(on_step=lambda x_t, _: calls.append(x_t)), gallery)
        classes = answer.draws[:, self.denoiser.config.embedding_dim :]  # (S, K) which are no matter of steps
        return [torch.cat([self.denoiser.restore(x), classes.to(x)], dim=1) for x in calls], answer

    def _compose_alike(
        self, queries: Sequence[Query], options: SamplerOptions, watch: PhaseTimer, gallery: float | None
    ) -> list[Composition]:
        """Answer queries of one mode with equal options that all or none have a text, and a reference."""
        first = queries[0]
        with watch.time_phase("encode"):
            cells = [None if query.mask is None else check_cells(np.asarray(query.mask)) for query in queries]
            references = None if first.reference is None else self._embed_references(queries, cells)
            conditions = self._make_conditions(queries, references, stack_masks(cells), gallery)
        if first.mode == "image" and references is not None:
            draws = references[:, None]
        elif first.mode == "text":
            draws = torch.stack([self._embed_text(query.relative_caption) for query in queries])[:, None]
        else:
            with watch.time_phase("sample"):
                draws = self._sample(queries, options, conditions, watch)
        taken_off = [self._subtract(query, each) for query, each in zip(queries, draws, strict=True)]
        return [
            Composition(draw, None if references is None else references[place]) for place, draw in enumerate(taken_off)
        ]

    def _sample(
        self, queries: Sequence[Query], options: SamplerOptions, conditions: Conditions, watch: PhaseTimer
    ) -> Tensor:
        """Sample the draws (B, S, D)."""
        seeds = [self.sampling.seed if query.seed is None else query.seed for query in queries]
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        process = self.card.process
        return compose_draws(self.denoiser, conditions, options, generators, process, watch.step)

    def _make_conditions(
        self, queries: Sequence[Query], references: Tensor | None, masks: Tensor | None, gallery: float | None
    ) -> Conditions:
        said = [query.relative_caption for query in queries]
        unsaid = [query.negative_text for query in queries]
        has_text = queries[0].has_text
        encoded = self._texts.encode([*unsaid, *(said if has_text else [])])
        null_text = encoded[: len(queries)] if len(set(unsaid)) > 1 else encoded[:1]
        text = pack_texts(encoded[len(queries) :]) if has_text else None
        pooled = [each.pooled for each in encoded[len(queries) :] if each.pooled is not None] if has_text else []
        texts = torch.stack(pooled) if pooled else None
        learned_dim = self.encoder.manifest.learned_dim
        wishes = None
        if texts is not None and texts.shape[1] > learned_dim:
            wishes = TextWishes.embed([read_wish(caption) for caption in said], self._embed_texts, learned_dim)
        learned, classes = ClassConditions.split(references, texts, learned_dim, gallery, wishes)
        edits = self._find_edits(queries, references, texts)
        return Conditions(pack_texts(null_text), text, image=learned, mask=masks, classes=classes, edits=edits)

    def _find_edits(
        self, queries: Sequence[Query], references: Tensor | None, texts: Tensor | None
    ) -> EditConditions | None:
        """Return the edits of whole pictures that texts ask for; a mask or a negative text asks for more than these."""
        if self.encoder.edits is None or references is None or texts is None:
            return None
        may = torch.tensor([query.mask is None and not query.negative_text for query in queries])
        found = self.encoder.edits.find(references, texts, may)
        return None if found is None else EditConditions(references, found.change, found.asked, found.shared)

    def _subtract(self, query: Query, draws: Tensor) -> Tensor:
        """Take the direction of `query.subtract` off its draws (S, D), by a share of each draw's length."""
        if is_blank(query.subtract):
            return draws
        direction = torch.nn.functional.normalize(self._embed_text(query.subtract).to(draws), dim=0)
        lengths: Tensor = torch.linalg.vector_norm(draws, dim=1, keepdim=True)
        return draws - query.subtract_weight * lengths * direction

    def _embed_text(self, text: str) -> Tensor:
        """Return the embedding (D,) of a text in the pictures' space, which `prepare` has seen that there is."""
        return self._embed_texts([text])[0]

    def _embed_texts(self, texts: Sequence[str]) -> Tensor:
        """Return the embeddings (n, D) of texts in the pictures' space."""
        return torch.stack([cast(Tensor, each.pooled) for each in self._texts.encode(texts)])

    def _convert_reference(self, reference: Reference) -> Reference:
        if isinstance(reference, Blend):
            return Blend(tuple(self._convert_part(part) for part in reference.parts), reference.weights)
        return None if reference is None else self._convert_part(reference)

    def _convert_part(self, part: ReferencePart) -> ReferencePart:
        """Return pictures as pixels; embeddings as they are, checked."""
        if isinstance(part, Tensor):
            return part
        if isinstance(part, Image.Image):
            return self.encoder.preprocess(part)
        if isinstance(part, str):
            raise InputInvalid(f"the reference {part!r} is an id; hand in the picture, or search an index")
        dim = self.encoder.manifest.embedding_dim
        if part.shape != (dim,):
            raise InputInvalid(f"the reference embedding has the shape {part.shape}, the encoder makes ({dim},)")
        if not np.isfinite(part).all():
            raise InputInvalid("a reference embedding holds NaN or infinity; encode its input again")
        if (length := float(np.linalg.norm(part.astype(np.float64)))) > _LONGEST:
            raise InputInvalid(f"a reference embedding has length {length:.3g}, as no picture's has; copy it unchanged")
        return part

    def _find_cells(self, query: Query) -> NDArray[np.bool_] | None:
        if query.mask is None:
            return None
        if isinstance(query.mask, Image.Image):
            if not isinstance(query.reference, Image.Image):
                raise InputInvalid("a mask needs the reference as a picture, the one it was drawn on")
            return compute_cells(query.mask, query.reference, self.encoder).numpy()
        if query.reference is None or isinstance(query.reference, Blend):
            raise InputInvalid("a mask needs one reference, the one it was drawn on")
        return check_cells(query.mask).numpy()

    def _embed_references(self, queries: Sequence[Query], cells: Sequence[Tensor | None]) -> Tensor:
        """Embed references (B, D): pictures together, a masked one with its masked region blanked."""
        blends = [_blend(query.reference) for query in queries if query.reference is not None]
        pixels = [
            part if masked is None else blank_masked(part[None], masked[None])[0]
            for blend, masked in zip(blends, cells, strict=True)
            for part in blend.parts
            if isinstance(part, Tensor)
        ]
        embeddings = iter(encode_pixels(self.encoder, pixels) if pixels else ())
        means = []
        for blend in blends:
            parts = [next(embeddings) if isinstance(part, Tensor) else self._place_part(part) for part in blend.parts]
            weights = torch.tensor(blend.weights, device=parts[0].device) / sum(blend.weights)
            means.append((weights[:, None] * torch.stack(parts)).sum(0) if len(parts) > 1 else parts[0])
        return torch.stack(means)

    def _place_part(self, part: ReferencePart) -> Tensor:
        return torch.from_numpy(np.asarray(part, dtype=np.float32)).to(self.encoder.device)


def _blend(reference: ReferencePart | Blend) -> Blend:
    return reference if isinstance(reference, Blend) else Blend((reference,), (1.0,))
