"""What an adapted model finds: held-out captions among held-out captions, and pictures among a person's pictures."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from compodiff.adaptation.gap import Floats, Gap, widen
from compodiff.adaptation.triplets import TEXTS_AT_ONCE
from compodiff.benchmarks.answers import RetrievalModel
from compodiff.benchmarks.datasets.benchmark import Benchmark, BenchmarkProtocol, BenchmarkQuery
from compodiff.benchmarks.datasets.pictures import GalleryFolder
from compodiff.benchmarks.report.comparison import COMPOSED
from compodiff.benchmarks.run import BenchmarkRun, EmbeddingSource, digest_weights, run_benchmark
from compodiff.benchmarks.run_assembled import RECALLS
from compodiff.embeddings import Embeddings
from compodiff.embeddings.text_tower import encode_texts
from compodiff.embeddings.token_arrays import TokenTable
from compodiff.encoders import Encoder
from compodiff.index.index import Index
from compodiff.language.templates import choose_article
from compodiff.language.wishes import list_wished
from compodiff.pairs.caption_file import read_caption_pairs
from compodiff.params import Params

REFERENCE = "reference "  # and a number: the name of a moved caption
_PROTOCOL = BenchmarkProtocol(recall_ks=(1, 5, 10), excludes_reference=True)


@dataclass(frozen=True)
class Measurement:
    """What is measured, and by which model.

    Attributes:
        name: of the figures.
        queries: with targets and references by their names.
        names: of the pictures, or of what stands for them.
        vectors: (m, D) of these.
        gallery: names of those that are ranked.
        seen: how many dimensions of texts count.
    """

    name: str
    queries: tuple[BenchmarkQuery, ...]
    names: Sequence[str]
    vectors: Floats
    gallery: tuple[str, ...]
    seen: int

    def score(self, model: Path, encoder: Encoder, params: Params) -> dict[str, Any]:
        """Answer the queries by the model and the baselines; return what a metrics file holds."""
        shown = GalleryFolder.scan(model / "gallery")  # nothing is
        part = Benchmark(self.name, "held-out", self.queries, _PROTOCOL, shown, self.gallery)
        embeddings = self._embed_texts(encoder)
        answering = RetrievalModel.load(model, params.sampling, embeddings, edits=encoder.edits)
        settings = {
            "encoder": embeddings.encoder.to_json(),
            "weights_digest": digest_weights(model),
            "sampling": params.sampling.model_dump(),
        }
        source = EmbeddingSource(embeddings, _refuse_masks)
        # The baselines' dials are chosen on these same queries, in their favour.
        run = BenchmarkRun([part], source, {COMPOSED: answering}, part, params.evaluation, settings)
        return run_benchmark(run).describe_recalls(RECALLS)

    def _embed_texts(self, encoder: Encoder) -> Embeddings:
        said = {query.relative_caption for query in self.queries}
        wished = list_wished(said) if encoder.manifest.tells_classes else set[str]()
        texts = ["", *sorted((said | wished) - {""})]
        pooled, tokens = encode_texts(encoder, texts, TEXTS_AT_ONCE)
        return Embeddings(
            encoder.manifest,
            self.vectors,
            {name: row for row, name in enumerate(self.names)},
            widen(pooled[:, : self.seen].astype(np.float32), encoder.manifest.embedding_dim),
            {text: row for row, text in enumerate(texts)},
            tuple(map(TokenTable.of, tokens)),
        )


def list_caption_queries(pairs: Path, most: int) -> list[BenchmarkQuery]:
    """Return queries about caption pairs of the validation split, the first ones: captions stand for pictures."""
    held_out = (pair for pair in read_caption_pairs(pairs) if pair.split == "validation")
    queries = [
        BenchmarkQuery(
            pair.key,
            pair.reference_caption,
            pair.relative_caption,
            (pair.relative_caption,),
            (pair.target_caption,),
            groups=(pair.relation,),
        )
        for pair in held_out
    ]
    return queries[:most]


def list_picture_queries(names: Sequence[str], most: int, seed: int) -> list[BenchmarkQuery]:
    """Return queries "a CLASS instead" about pictures whose folders are classes; none where there is but one class.

    Args:
        names: paths of the pictures; the name of a picture's folder says what it shows.
        most: queries.
        seed: of the draw of references and classes.
    """
    of_class: defaultdict[str, list[str]] = defaultdict(list)
    for name in names:
        of_class[PurePosixPath(name).parent.name.replace("_", " ").replace("-", " ").strip().lower()].append(name)
    classes = sorted(own for own in of_class if own)  # a picture in no folder is of no class
    if len(classes) < 2:
        return []
    rng, queries = np.random.default_rng(seed), list[BenchmarkQuery]()
    for number in range(most):
        own, other = (classes[place] for place in rng.choice(len(classes), 2, replace=False))
        reference = of_class[own][rng.integers(len(of_class[own]))]
        article = "" if other.split(" ")[0] in _DETERMINERS else f"{choose_article(other)} "
        text = f"{article}{other} instead"
        queries.append(BenchmarkQuery(str(number), reference, text, (text,), tuple(of_class[other]), concept=own))
    return queries


_DETERMINERS = ("a", "an", "the", "some", "two", "three", "four", "five", "many")


def measure_captions(
    pairs: Path, embedded: Mapping[str, Floats], gap: Gap, model: Path, encoder: Encoder, params: Params
) -> dict[str, Any] | None:
    """Measure on held-out captions: moved texts, without noise, are references; target captions are the gallery."""
    queries = list_caption_queries(pairs, params.adaptation.held_out)
    if not queries:
        return None
    asked = [query.reference for query in queries]
    found = list(dict.fromkeys(name for query in queries for name in query.targets))
    references = gap.move(np.stack([embedded[name] for name in asked]))
    vectors = gap.place_targets(np.stack([embedded[name] for name in found]), params.adaptation)
    named = [replace(query, reference=f"{REFERENCE}{number}") for number, query in enumerate(queries)]
    names = [*found, *(query.reference for query in named)]
    both = widen(np.concatenate([vectors, references]), encoder.manifest.embedding_dim)
    seen = encoder.manifest.learned_dim  # what stands for a picture here says nothing of classes
    return Measurement("captions", tuple(named), names, both, tuple(found), seen).score(model, encoder, params)


def measure_pictures(index: Path, model: Path, encoder: Encoder, params: Params) -> dict[str, Any] | None:
    """Measure on the pictures of an index; None where they are not of several classes."""
    opened = Index.load(index)
    queries = list_picture_queries(opened.picture_ids, params.adaptation.held_out, params.captions.seed)
    if not queries:
        return None
    vectors = np.asarray(opened.embeddings, np.float32)
    names = tuple(opened.picture_ids)
    seen = encoder.manifest.embedding_dim
    return Measurement("pictures", tuple(queries), names, vectors, names, seen).score(model, encoder, params)


def _refuse_masks(*_: object) -> Any:
    raise AssertionError("no query of these has a mask")
