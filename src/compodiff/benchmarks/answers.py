"""The queries of a benchmark in arrays, and a model's answers to them.

Q queries, P pairs of a query and one of its texts, D embedding width.
"""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from compodiff.benchmarks.datasets.benchmark import Benchmark
from compodiff.benchmarks.scoring.ranking import Floats, Ints, Similarity, normalise
from compodiff.benchmarks.scoring.vectors import Vectors
from compodiff.embeddings import Embeddings
from compodiff.embeddings.set_arrays import NULL_TEXT
from compodiff.encoders.edit_maps import EditMaps
from compodiff.encoders.manifest import EncoderManifest, require_same
from compodiff.errors import InputInvalid
from compodiff.language.wishes import list_wished, read_wish
from compodiff.model.checkpoint import ModelCard, load_model
from compodiff.model.fusion import fuse_draws
from compodiff.model.inference import prepare_for_inference
from compodiff.model.network.composing import ComposingNetwork
from compodiff.model.network.context import PackedText
from compodiff.model.sampling.classes import ClassConditions, TextWishes, measure_gallery
from compodiff.model.sampling.edits import EditConditions
from compodiff.model.sampling.query import Conditions, SamplerOptions
from compodiff.model.sampling.sampler import compose_draws, make_generators
from compodiff.params import SamplingParams
from compodiff.precision import Precision, choose_device, choose_precision

_PAIRS_AT_ONCE = 512


@dataclass(frozen=True)
class QueryArrays:
    """The queries of one part in arrays.

    Attributes:
        embeddings: where texts and pictures are.
        references: (Q, D) raw; of a masked reference with the masked region blanked.
        query: (P,) the query of each pair, rising.
        text: (P,) row of its text.
        negative: (P,) row of its negative text, the empty text's where it has none.
        said: its text, for each pair.
        masks: (Q, 64, 64) bool, or None where no query masks anything.
    """

    embeddings: Embeddings
    references: Floats
    query: Ints
    text: Ints
    negative: Ints
    said: tuple[str, ...]
    masks: Tensor | None = None

    @classmethod
    def of(cls, part: Benchmark, embeddings: Embeddings) -> "QueryArrays":
        """Look up what the queries of `part` name.

        Raises:
            InputInvalid: a picture or text has no embedding.
        """
        try:
            rows = [[embeddings.picture_row[name] for name in query.references] for query in part.queries]
            said = tuple(text for query in part.queries for text in query.texts)
            text = [embeddings.text_row[text] for text in said]
            negative = [embeddings.text_row[query.negative] for query in part.queries for _ in query.texts]
            for wished in list_wished(said) if embeddings.encoder.tells_classes else ():
                embeddings.text_row[wished]
        except KeyError as error:
            raise InputInvalid(f"{error} of {part.label} has no embedding; run: dvc repro embed_benchmark") from error
        query = np.repeat(np.arange(len(part.queries)), [len(query.texts) for query in part.queries])
        references = embeddings.pictures[[of_query[0] for of_query in rows]]
        for place, of_query in enumerate(rows):
            if len(of_query) > 1:  # several pictures are asked by as search does: by the mean of their embeddings
                references[place] = embeddings.pictures[of_query].mean(axis=0, dtype=np.float64)
        return cls(embeddings, references, query, np.array(text), np.array(negative), said)

    def mask_references(self, references: Floats, masks: Tensor) -> "QueryArrays":
        """Return the same queries where some mask a region of their reference."""
        return replace(self, references=references, masks=masks)

    def average_over_texts(self, values: Floats) -> Floats:
        """Return the mean of unit vectors (P, D) over the texts of each query -> (Q, D)."""
        total = np.zeros((len(self.references), values.shape[1]))
        np.add.at(total, self.query, normalise(values, np.float64))
        return normalise(total, np.float64)

    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        """Return the embeddings (n, D) of texts that the queries say, or want, among pictures."""
        return torch.from_numpy(self.embeddings.texts_pooled[[self.embeddings.text_row[text] for text in texts]])

    @property
    def texts(self) -> Floats:
        """Pooled text (Q, D) of each query, of length 1; where the encoder has a joint text embedding."""
        return self.average_over_texts(self.embeddings.texts_pooled[self.text])


def read_gallery_vectors(embeddings: Embeddings) -> Vectors:
    """Return every embedded picture by its id."""
    return Vectors(tuple(embeddings.picture_row), embeddings.pictures)


@dataclass(frozen=True)
class RetrievalModel:
    """A denoiser on the CPU and how it is asked; `has_reference` false asks by the text alone, as the prior is asked.

    It answers on the GPU where there is one. With `edits` it answers edits of whole pictures as search does.
    """

    denoiser: ComposingNetwork
    card: ModelCard
    sampling: SamplingParams
    has_reference: bool = True
    edits: EditMaps | None = None

    @classmethod
    def load(
        cls,
        folder: Path,
        sampling: SamplingParams,
        embeddings: Embeddings,
        *,
        has_reference: bool = True,
        edits: EditMaps | None = None,
    ) -> "RetrievalModel":
        """Read a model folder that will be asked about `embeddings`.

        Raises:
            CheckpointMismatch: the folder is damaged.
            EncoderMismatch: the model works on another encoder's embeddings.
        """
        denoiser, card = load_model(folder)
        if card.encoder is not None:
            require_same(embeddings.encoder, EncoderManifest.from_json(card.encoder), f"the model {folder}")
        return cls(denoiser, card, sampling, has_reference, edits)

    @property
    def precision(self) -> Precision:
        """The precision that it is sampled in."""
        return choose_precision(self.sampling.precision, choose_device())

    def sample_with(self, sampling: SamplingParams) -> "RetrievalModel":
        """Return the same model, sampled otherwise."""
        return replace(self, sampling=sampling)

    def answer(self, asked: QueryArrays, label: str) -> Similarity:
        """Sample answers to every query and fuse its draws; its noise depends on its place and the seed alone."""
        # A copy, because the weights are packed for inference and may still be trained on.
        denoiser = prepare_for_inference(deepcopy(self.denoiser), self.sampling.precision, choose_device())
        options = SamplerOptions.of(self.sampling)
        generators = make_generators(torch.Generator().manual_seed(self.sampling.seed), len(asked.references))
        answers: list[Floats] = []
        with tqdm(total=len(asked.query), desc=label, unit=" queries", disable=None) as progress:
            for start in range(0, len(asked.query), _PAIRS_AT_ONCE):
                pairs = np.arange(start, min(start + _PAIRS_AT_ONCE, len(asked.query)))
                own = [generators[query].clone_state() for query in asked.query[pairs]]  # shared by a query's texts
                conditions = self._make_conditions(asked, pairs, choose_device())
                draws = compose_draws(denoiser, conditions, options, own, self.card.process)
                answers.append(fuse_draws(draws, self.sampling.fusion).cpu().numpy())
                progress.update(len(pairs))
        vectors = np.concatenate(answers)
        return Similarity(tuple(asked.average_over_texts(each) for each in vectors.swapaxes(0, 1)), np.maximum)

    def _make_conditions(self, asked: QueryArrays, pairs: Ints, device: torch.device) -> Conditions:
        query, negative = asked.query[pairs], asked.negative[pairs]
        null_text = negative[:1] if (negative == negative[0]).all() else negative
        image = torch.from_numpy(asked.references[query]).float().to(device) if self.has_reference else None
        masks = asked.masks[query].to(device) if self.has_reference and asked.masks is not None else None
        encoder, texts, wishes = asked.embeddings.encoder, None, None
        gallery = measure_gallery(asked.embeddings.pictures, encoder.learned_dim)
        if encoder.joint is not None:
            texts = torch.from_numpy(asked.embeddings.texts_pooled[asked.text[pairs]]).to(device)
        if texts is not None and texts.shape[1] > encoder.learned_dim:
            read = [read_wish(asked.said[pair]) for pair in pairs]
            wishes = TextWishes.embed(read, lambda named: asked.embed_texts(named).to(device), encoder.learned_dim)
        learned, classes = ClassConditions.split(image, texts, encoder.learned_dim, gallery, wishes)
        return Conditions(
            null_text=PackedText.of_arrays(asked.embeddings.read_tokens(null_text)).place(device),
            text=PackedText.of_arrays(asked.embeddings.read_tokens(asked.text[pairs])).place(device),
            image=learned,
            mask=masks,
            classes=classes,
            edits=self._find_edits(asked, pairs, image, texts),
        )

    def _find_edits(
        self, asked: QueryArrays, pairs: Ints, image: Tensor | None, texts: Tensor | None
    ) -> EditConditions | None:
        """Return the edits of whole pictures that texts ask for, of references without a mask."""
        if self.edits is None or image is None or texts is None:
            return None
        may = torch.from_numpy(asked.negative[pairs] == NULL_TEXT)
        if asked.masks is not None:
            may &= ~asked.masks[asked.query[pairs]].flatten(1).any(dim=1)
        found = self.edits.find(image, texts, may)
        return None if found is None else EditConditions(image, found.change, found.asked, found.shared)
