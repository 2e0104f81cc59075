"""A benchmark that is embedded and ready to be asked many times: one of params.yaml, or any other."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from compodiff.benchmarks.answers import QueryArrays, RetrievalModel, read_gallery_vectors
from compodiff.benchmarks.datasets.benchmark import Benchmark, BenchmarkProtocol, BenchmarkQuery
from compodiff.benchmarks.datasets.embedding import embed_benchmark, find_present
from compodiff.benchmarks.datasets.pictures import FilePictures
from compodiff.benchmarks.report.showcase import ScoredRow
from compodiff.benchmarks.run import EmbeddingSource, ask_queries, make_masks
from compodiff.benchmarks.scoring.ranking import Similarity
from compodiff.benchmarks.scoring.scorer import Scorer
from compodiff.embeddings import Embeddings
from compodiff.embeddings.token_arrays import TokenTable, join_tokens
from compodiff.encoders import Encoder, EncoderManifest
from compodiff.errors import InputInvalid
from compodiff.params import EmbeddingParams
from compodiff.training.curve import CurveQueries


@dataclass(frozen=True)
class EmbeddedBenchmark:
    """Parts of a benchmark with their queries in arrays."""

    name: str
    parts: tuple[Benchmark, ...]
    asked: tuple[QueryArrays, ...]
    source: EmbeddingSource
    chunk: int

    @classmethod
    def of(cls, name: str, parts: Sequence[Benchmark], source: EmbeddingSource, chunk: int) -> "EmbeddedBenchmark":
        """Look up what the queries name; those that mask a region of their reference are asked with it."""
        return cls(name, tuple(parts), tuple(ask_queries(part, source) for part in parts), source, chunk)

    @property
    def queries(self) -> int:
        """How many queries there are over all parts."""
        return sum(len(part.queries) for part in self.parts)

    def score(self, similarities: Sequence[Similarity]) -> list[ScoredRow]:
        """Score the answers to each part."""
        scorer = Scorer(chunk=self.chunk, skip_missing=True)
        return [
            ScoredRow(similarity, scorer.score(part, read_gallery_vectors(asked.embeddings), similarity))
            for part, asked, similarity in zip(self.parts, self.asked, similarities, strict=True)
        ]

    def answer(self, answering: RetrievalModel, label: str = "answering") -> dict[str, float]:
        """Compute metrics of a model's answers, each the mean over parts, and the `seconds_per_query` they took."""
        return self.ask(answering, label)[1]

    def ask(self, answering: RetrievalModel, label: str) -> tuple[list[ScoredRow], dict[str, float]]:
        """Return what `answer` does, after the scored answers themselves."""
        start = time.perf_counter()
        similarities = [answering.answer(asked, label) for asked in self.asked]
        seconds = (time.perf_counter() - start) / self.queries
        rows = self.score(similarities)
        parts = [row.scored.metrics for row in rows]
        means = {name: float(np.mean([metrics[name] for metrics in parts])) for name in parts[0]}
        return rows, means | {"seconds_per_query": seconds}

    def replace_embeddings(self, embeddings: Embeddings) -> "EmbeddedBenchmark":
        """Return the same queries over other embeddings of the same pictures and texts."""
        return self.of(self.name, self.parts, replace(self.source, embeddings=embeddings), self.chunk)

    def ask_plainly(self) -> "EmbeddedBenchmark":
        """Return the same queries without their masks and negative texts."""
        asked = [QueryArrays.of(part, own.embeddings) for part, own in zip(self.parts, self.asked, strict=True)]
        plain = tuple(replace(own, negative=np.zeros_like(own.negative)) for own in asked)
        return replace(self, asked=plain)

    def select_pictures(self, keep: Callable[[str], bool]) -> "EmbeddedBenchmark":
        """Select the queries whose pictures are all kept, over the kept pictures of the gallery.

        Raises:
            InputInvalid: no query is left.
        """
        parts = []
        for part in self.parts:
            queries = [query for query in part.queries if all(map(keep, (query.reference, *query.targets)))]
            if not queries:
                raise InputInvalid(f"no query of {part.label} is left; choose another split or benchmark")
            gallery = None if part.gallery is None else tuple(name for name in part.gallery if keep(name))
            parts.append(replace(part, queries=tuple(queries), gallery=gallery))
        return self.of(self.name, parts, self.source, self.chunk)


def load_field_benchmark(
    parts: Sequence[Benchmark], root: Path, encoder: Encoder, cache: Path, params: EmbeddingParams, chunk: int
) -> EmbeddedBenchmark:
    """Load any benchmark, embedded once; pictures that are missing are an error."""
    there = find_present(parts, skip_missing=False)
    source = EmbeddingSource(embed_benchmark(there, encoder, cache, params), make_masks(root, encoder))
    return EmbeddedBenchmark.of(there.parts[0].label, there.parts, source, chunk)


def make_caption_benchmark(
    queries: CurveQueries, encoder: EncoderManifest, source: EmbeddingSource, chunk: int
) -> EmbeddedBenchmark:
    """Make queries of captions: each finds a picture that has it, in the gallery of `queries`."""
    targets: dict[str, list[str]] = {}
    for query, picture in queries.hits.tolist():
        targets.setdefault(f"caption {query}", []).append(str(picture))
    embeddings = Embeddings(
        encoder=encoder,
        pictures=queries.gallery,
        picture_row={str(row): row for row in range(len(queries.gallery))},
        texts_pooled=np.zeros((len(queries.own) + 1, encoder.learned_dim), np.float32),  # none is asked for
        text_row={"": 0} | {f"caption {row}": row + 1 for row in range(len(queries.own))},
        text_tokens=tuple(map(TokenTable.of, join_tokens([queries.null_text, queries.texts]))),
    )
    part = Benchmark(
        "text_to_image",
        "validation",
        tuple(BenchmarkQuery(name, own[0], name, (name,), tuple(own)) for name, own in targets.items()),
        BenchmarkProtocol(recall_ks=(1, 5, 10)),
        FilePictures(lambda _name: ()),  # ranked by their embeddings; none is shown
        tuple(embeddings.picture_row),
    )
    return EmbeddedBenchmark.of("text to image", (part,), replace(source, embeddings=embeddings), chunk)
