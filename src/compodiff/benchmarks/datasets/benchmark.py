"""What a benchmark is: a gallery, queries, and a protocol. Loaders make it; one evaluation path scores it.

A loader returns a list of benchmarks, its parts: FashionIQ has three (one gallery a category), the others one.
"""

from collections import Counter
from collections.abc import Container, Mapping
from dataclasses import dataclass, field

from compodiff.benchmarks.datasets.pictures import BenchmarkPictures
from compodiff.errors import InputInvalid


@dataclass(frozen=True)
class BenchmarkQuery:
    """One composed query and what answers it.

    Attributes:
        key: its name in the annotation file, in messages and in submissions.
        texts: what is embedded, the benchmark's template applied; several texts are averaged after embedding.
        targets: any of them within the first K is a hit of Recall@K; empty where the test server hides them.
        also_relevant: count for mAP@K beside the targets (CIRCO's further ground truths).
        label_weights: the graded labels of soft recall (CIRR's `target_soft`).
        candidates: what is ranked besides, or instead of, the gallery (CIRR's image set, GeneCIS' gallery).
        groups: what its outcome is also averaged by: a relation, CIRCO's semantic aspects.
        edited: picture file, from the benchmark's folder, white where reference and target differ; empty: not known.
        concept: queries of one concept are drawn together by the bootstrap; empty: the query stands alone.
        also_references: further pictures that are shown with the reference; the mean of all is asked by.
        negatives: pictures that should not be found.
        intent: queries of one intent are paraphrases, over which the spread is reported; empty: it has none.
    """

    key: str
    reference: str
    relative_caption: str
    texts: tuple[str, ...]
    targets: tuple[str, ...] = ()
    also_relevant: tuple[str, ...] = ()
    label_weights: Mapping[str, float] = field(default_factory=dict)
    candidates: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    concept: str = ""
    negative: str = ""
    mask: str = ""
    edited: str = ""
    also_references: tuple[str, ...] = ()
    negatives: tuple[str, ...] = ()
    intent: str = ""

    @property
    def references(self) -> tuple[str, ...]:
        """Every picture that is shown."""
        return (self.reference, *self.also_references)

    @property
    def judged(self) -> tuple[str, ...]:
        """The pictures whose rank matters: targets, ground truths, negatives, candidates."""
        return (*self.targets, *self.also_relevant, *self.negatives, *self.candidates)


@dataclass(frozen=True)
class BenchmarkProtocol:
    """Which numbers a benchmark reports.

    Attributes:
        recall_ks, map_ks: the K of Recall@K and mAP@K over the gallery.
        candidate_ks: the K of Recall@K over each query's candidates, reported as `candidate_metric`.
        soft: also report each recall as `soft_...`: the greatest label weight within the first K.
        excludes_reference: the references are taken out of their own ranking.
        precision_ks: the K of precision@K over the gallery.
        negative_ks: the K of negative recall@K: the part of the negatives, at most K, that is among the first K.
        full_map: also report `map`, the average precision over the whole ranking by the trapezoidal rule.
    """

    recall_ks: tuple[int, ...] = ()
    map_ks: tuple[int, ...] = ()
    candidate_ks: tuple[int, ...] = ()
    candidate_metric: str = "subset_recall"
    soft: bool = False
    excludes_reference: bool = False
    precision_ks: tuple[int, ...] = ()
    negative_ks: tuple[int, ...] = ()
    full_map: bool = False


@dataclass(frozen=True)
class Benchmark:
    """A gallery and its queries under a protocol.

    Attributes:
        part: "" or the name of this part, such as "dress".
        gallery: ids of the pictures that are ranked; None where no list comes with the annotations and the gallery
            is whatever pictures the embeddings name.
        aliases: a coarser name under which embeddings may know a picture (a crop by the picture it is cut from).
        settings: choices that change the score and are written into the result (template, gallery variant ...).
        unlisted: judged pictures that the gallery does not list; they count, and cannot be found.
    """

    name: str
    split: str
    queries: tuple[BenchmarkQuery, ...]
    protocol: BenchmarkProtocol
    pictures: BenchmarkPictures
    gallery: tuple[str, ...] | None = None
    part: str = ""
    aliases: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, str] = field(default_factory=dict)
    unlisted: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        """Refuse what no ranking can be made of.

        Raises:
            InputInvalid: no query at all, an id twice in the gallery, a key twice among the queries, or a target that
                is not in the gallery.
        """
        if not self.queries:
            raise InputInvalid(f"{self.label} has no queries; check its annotation file")
        require_distinct([query.key for query in self.queries], f"{self.label}: query")
        if self.gallery is None:
            return
        require_distinct(self.gallery, f"{self.label}: gallery picture")
        known = self.unlisted.union(self.gallery)
        for query in self.queries:
            for picture in query.judged:
                if picture not in known:
                    raise InputInvalid(
                        f"{self.label}: query {query.key} names {picture!r}, which is not in the gallery"
                    )

    @property
    def label(self) -> str:
        """How messages name this part."""
        return f"{self.name} {self.split} {self.part}".rstrip()

    @property
    def hides_targets(self) -> bool:
        """Whether the targets of this split are known to the test server only."""
        return not any(query.targets for query in self.queries)

    def can_be_scored(self, there: Container[str]) -> bool:
        """Return whether a target of some query is among the pictures that are `there`, or targets are hidden."""
        targets = (name for query in self.queries for name in query.targets)
        return self.hides_targets or any(name in there or self.aliases.get(name, "") in there for name in targets)

    @property
    def ranked_pictures(self) -> tuple[str, ...]:
        """The pictures that the queries judge and that can be found, in a stable order."""
        names = dict.fromkeys(name for query in self.queries for name in query.judged)
        return tuple(name for name in names if name not in self.unlisted)

    @property
    def named_pictures(self) -> tuple[str, ...]:
        """Every picture that must be embedded: the gallery, the references and what the queries rank."""
        references = (name for query in self.queries for name in query.references)
        return tuple(dict.fromkeys((*(self.gallery or ()), *references, *self.ranked_pictures)))


def require_distinct(names: tuple[str, ...] | list[str], what: str) -> None:
    """Refuse a name that stands twice.

    Raises:
        InputInvalid: naming the first of them.
    """
    name, count = next(iter(Counter(names).most_common(1)), ("", 0))
    if count > 1:
        raise InputInvalid(f"{what} {name!r} occurs {count} times; name each once")
