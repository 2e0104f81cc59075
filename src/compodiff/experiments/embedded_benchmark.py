"""A benchmark that is embedded and ready to be asked many times: the pipeline's own, or any other."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from compodiff.benchmarks.answers import QueryArrays, RetrievalModel, read_gallery_vectors
from compodiff.benchmarks.datasets.benchmark import Benchmark, BenchmarkProtocol, BenchmarkQuery
from compodiff.benchmarks.datasets.own import load_triplets
from compodiff.benchmarks.datasets.pictures import FilePictures
from compodiff.benchmarks.scoring.ranking import Similarity
from compodiff.benchmarks.scoring.scorer import Scorer
from compodiff.catalogue.captions import list_picture_captions
from compodiff.catalogue.pictures import Catalogue
from compodiff.embeddings import Embeddings
from compodiff.errors import InputInvalid

EMOJI = "emoji"


@dataclass(frozen=True)
class EmbeddedBenchmark:
    """Parts of a benchmark with their queries in arrays."""

    name: str
    parts: tuple[Benchmark, ...]
    asked: tuple[QueryArrays, ...]
    chunk: int

    @classmethod
    def of(cls, name: str, parts: Sequence[Benchmark], embeddings: Embeddings, chunk: int) -> "EmbeddedBenchmark":
        """Look up what the queries of `parts` name."""
        return cls(name, tuple(parts), tuple(QueryArrays.of(part, embeddings) for part in parts), chunk)

    @property
    def queries(self) -> int:
        """How many queries there are over all parts."""
        return sum(len(part.queries) for part in self.parts)

    def score(self, similarities: Sequence[Similarity]) -> dict[str, float]:
        """Return metrics, each the mean over parts."""
        scorer = Scorer(chunk=self.chunk, skip_missing=True)
        scored = [
            scorer.score(part, read_gallery_vectors(asked.embeddings), similarity).metrics
            for part, asked, similarity in zip(self.parts, self.asked, similarities, strict=True)
        ]
        return {name: float(np.mean([metrics[name] for metrics in scored])) for name in scored[0]}

    def answer(self, answering: RetrievalModel, label: str = "answering") -> dict[str, float]:
        """Return metrics of a model's answers, and `seconds_per_query` that the answers took."""
        start = time.perf_counter()
        similarities = [answering.answer(asked, label) for asked in self.asked]
        seconds = (time.perf_counter() - start) / self.queries
        return self.score(similarities) | {"seconds_per_query": seconds}

    def replace_embeddings(self, embeddings: Embeddings) -> "EmbeddedBenchmark":
        """Return the same queries over other embeddings of the same pictures and texts."""
        return EmbeddedBenchmark.of(self.name, self.parts, embeddings, self.chunk)

    def select_pictures(self, keep: Callable[[str], bool]) -> "EmbeddedBenchmark":
        """Return the queries whose pictures are all kept, over the kept pictures of the gallery.

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
        asked = tuple(QueryArrays.of(part, own.embeddings) for part, own in zip(parts, self.asked, strict=True))
        return replace(self, parts=tuple(parts), asked=asked)


def open_emoji_benchmark(benchmark: Path, embeddings: Embeddings, split: str, chunk: int) -> EmbeddedBenchmark:
    """Return the pipeline's own benchmark, from its artifacts."""
    return EmbeddedBenchmark.of(f"{EMOJI} {split}", load_triplets(benchmark, split), embeddings, chunk)


def make_caption_benchmark(catalogue: Catalogue, embeddings: Embeddings, split: str, chunk: int) -> EmbeddedBenchmark:
    """Ask, with every caption of a split's pictures, for a picture that has it, among all distinct ones."""
    targets: dict[str, set[str]] = {}
    rows = catalogue.pictures[catalogue.pictures["split"] == split].to_dict("index")
    for picture, row in rows.items():
        for caption in list_picture_captions(row):
            targets.setdefault(caption, set()).add(catalogue.find_canonical(str(picture)))
    queries = (BenchmarkQuery(text, min(own), text, (text,), tuple(sorted(own))) for text, own in targets.items())
    part = Benchmark(
        "text_to_image",
        split,
        tuple(queries),
        BenchmarkProtocol(recall_ks=(1, 5, 10)),
        FilePictures(lambda _name: ()),  # ranked by their embeddings; none is shown
        tuple(catalogue.list_distinct()),
    )
    return EmbeddedBenchmark.of(f"text to image {split}", (part,), embeddings, chunk)
