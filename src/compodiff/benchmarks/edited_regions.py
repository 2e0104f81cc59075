"""Preserve and edit, measured: how much of what the text does not name is kept, and how much of what it names arrives.

The region in which a query's reference and target differ is known for scenes, and where a benchmark's masks say it.
The best answer a of a query, its reference r and its target t are embedded twice: without the region, and without all
else (`blank_masked` blanks). With d(x, y) = 1 - the cosine of both embeddings,

    kept    = 1 - d(a, r) / d(r, u)   of what is outside the region; u is the reference of another query
    arrived = 1 - d(a, t) / d(r, t)   of what is inside

each no less than 0. The target has 1 in both, where it is the reference outside the region; the reference has kept
1 and arrived 0; an unrelated picture has kept near 0 and arrived 0. d(r, u) is the mean over the queries.

Shapes: n pictures, Q queries, D embedding width.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from compodiff.benchmarks.datasets.benchmark import Benchmark, BenchmarkQuery
from compodiff.benchmarks.report.showcase import ScoredRow, Showcase
from compodiff.benchmarks.scoring.ranking import Floats, Ints, Reals, normalise
from compodiff.benchmarks.scoring.scorer import restrict
from compodiff.benchmarks.scoring.vectors import Vectors
from compodiff.embeddings import blank_masked
from compodiff.embeddings.drawn_masks import compute_cells
from compodiff.encoders import Encoder
from compodiff.images import read_picture
from compodiff.outcomes import Bootstrap

EDITS = KEPT, ARRIVED = "kept", "arrived"
_UNSEEN = 1e-4  # distance below which an encoder does not see that reference and target differ
_BATCH = 16
Region = tuple[str, str, bool]  # picture, file of the region, whether what is inside it is embedded


def measure_kept(answers: Floats, references: Floats, unrelated: Floats) -> Reals:
    """Return how much of each reference is kept, (Q,) in [0, 1], from embeddings (Q, D) without the region."""
    unlike = _measure_distances(references, unrelated).mean()
    # Where all references are alike, what is exactly as the reference is kept, and nothing else.
    return _close(_measure_distances(answers, references), np.maximum(unlike, np.finfo(np.float64).tiny))


def measure_arrived(answers: Floats, references: Floats, targets: Floats) -> Reals:
    """Return how much of each change arrives, (Q,) in [0, 1] from embeddings (Q, D) of the region; NaN where unseen."""
    apart = _measure_distances(references, targets)
    seen = apart > _UNSEEN
    return np.where(seen, _close(_measure_distances(answers, targets), np.where(seen, apart, 1)), np.nan)


def _close(distances: Reals, nothing: Reals | np.float64) -> Reals:
    closed: Reals = np.clip(1 - distances / nothing, 0, 1)
    return closed


def _measure_distances(one: Floats, other: Floats) -> Reals:
    cosines = np.einsum("qd,qd->q", normalise(one, np.float64), normalise(other, np.float64))
    distances: Reals = np.maximum(1 - cosines, 0)
    return distances


@dataclass(frozen=True)
class RegionEncoder:
    """Embeds pictures without a region, or the region alone; each once.

    Attributes:
        root: folder that the files of regions are named from.
        load: the encoder, once it is needed.
    """

    root: Path
    load: Callable[[], Encoder]
    known: dict[Region, Floats] = field(default_factory=dict)

    @cached_property
    def encoder(self) -> Encoder:
        """The encoder."""
        return self.load()

    def embed(self, part: Benchmark, regions: Sequence[Region]) -> Floats:
        """Return the embedding of each, (n, D).

        Raises:
            InputInvalid: a file is not there, or has another shape than its picture.
        """
        missing = sorted(set(regions) - self.known.keys())
        for start in range(0, len(missing), _BATCH):
            some = missing[start : start + _BATCH]
            pixels = torch.stack([self._prepare(part, region) for region in some])  # (n, 3, H, W)
            self.known.update(zip(some, self.encoder.encode_pixels(pixels).cpu().numpy(), strict=True))
        return np.stack([self.known[region] for region in regions])

    def _prepare(self, part: Benchmark, region: Region) -> Tensor:
        name, file, is_inside = region
        picture = part.pictures.read(name)
        cells = compute_cells(read_picture(self.root / file), picture, self.encoder)
        blanked = ~cells if is_inside else cells
        return blank_masked(self.encoder.preprocess(picture)[None], blanked[None])[0]


@dataclass(frozen=True)
class EditedQueries:
    """The queries of one part whose region is known, or as many of them as are looked at, evenly spread."""

    part: Benchmark
    places: Ints

    @classmethod
    def choose(cls, part: Benchmark, vectors: Vectors, most: int) -> "EditedQueries":
        """Choose queries whose region is known and whose target is there."""
        known = [
            place
            for place, query in enumerate(part.queries)
            if find_region(query) and query.targets and query.targets[0] in vectors.rows
        ]
        if len({part.queries[place].reference for place in known}) < 2:  # nothing is unrelated
            known = []
        spread = np.unique(np.linspace(0, len(known) - 1, min(most, len(known))).round().astype(np.int64))
        return cls(part, np.array(known, dtype=np.int64)[spread])

    @property
    def queries(self) -> list[BenchmarkQuery]:
        """Return the queries."""
        return [self.part.queries[place] for place in self.places]

    def list_unrelated(self) -> list[str]:
        """Return, for each query, the reference of the next one of another concept."""
        queries = self.queries
        found = []
        for place, query in enumerate(queries):
            others = [it for it in (*queries[place + 1 :], *queries[:place]) if it.reference != query.reference]
            apart = (it for it in others if not it.concept or it.concept != query.concept)
            found.append(next(apart, others[0]).reference)
        return found


def find_region(query: BenchmarkQuery) -> str:
    """Return the file of the region in which a query's reference and target differ; "" where nobody says."""
    return query.edited or query.mask


def measure_edits(
    rows: Mapping[str, Sequence[ScoredRow]],
    vectors: Vectors,
    regions: RegionEncoder,
    bootstrap: Bootstrap,
    most: int,
    chunk: int,
) -> dict[str, dict[str, tuple[float, float, float]]]:
    """Measure what each row's best answers keep and what of the edit arrives in them.

    Args:
        rows: row name -> one scored part after the other.
        vectors: embeddings of the gallery.
        regions: embeds pictures.
        bootstrap: how intervals are drawn.
        most: queries of a part that are looked at.
        chunk: gallery rows scored at once.

    Returns:
        Row name -> KEPT, ARRIVED -> mean, and the low and high end of its interval; nothing where no query's region is
        known.

    Raises:
        InputInvalid: a region's file is not there, or has another shape than its picture.
    """
    first = next(iter(rows.values()))
    chosen = [EditedQueries.choose(row.scored.benchmark, vectors, most) for row in first]
    if not any(len(own.places) for own in chosen):
        return {}
    found: dict[str, dict[str, tuple[float, float, float]]] = {}
    for name, parts in rows.items():
        outcomes = [
            _measure_part(own, row, vectors, regions, chunk)
            for own, row in zip(chosen, parts, strict=True)
            if len(own.places)
        ]
        concepts = [query.concept for own in chosen for query in own.queries]
        joined = {measure: np.concatenate([each[measure] for each in outcomes]) for measure in EDITS}
        found[name] = {
            measure: _summarise(values, concepts, bootstrap)
            for measure, values in joined.items()
            if not np.isnan(values).all()
        }
    return found


def _measure_part(
    own: EditedQueries, row: ScoredRow, vectors: Vectors, regions: RegionEncoder, chunk: int
) -> dict[str, Reals]:
    gallery, _ = restrict(own.part, vectors, skip_missing=True)
    ranked = Showcase(queries=0, pictures=1, chunk=chunk).rank_pictures(own.part, gallery, row.similarity, own.places)
    files = [find_region(query) for query in own.queries]

    def embed(names: Sequence[str], *, is_inside: bool) -> Floats:
        return regions.embed(own.part, [(name, file, is_inside) for name, file in zip(names, files, strict=True)])

    answers, references = [names[0] for names in ranked], [query.reference for query in own.queries]
    targets = [query.targets[0] for query in own.queries]
    outside = [embed(names, is_inside=False) for names in (answers, references, own.list_unrelated())]
    inside = [embed(names, is_inside=True) for names in (answers, references, targets)]
    return {KEPT: measure_kept(*outside), ARRIVED: measure_arrived(*inside)}


def _summarise(values: Reals, concepts: Sequence[str], bootstrap: Bootstrap) -> tuple[float, float, float]:
    seen = np.flatnonzero(~np.isnan(values))
    of_seen = [concepts[place] for place in seen.tolist()]
    ((low, high),) = bootstrap.estimate_intervals([{"": values[seen]}], [of_seen]).values()
    return float(values[seen].mean()), low, high
