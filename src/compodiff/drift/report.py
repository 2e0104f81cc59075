"""Compare the queries that a server kept with those of the benchmark that the champion was measured on."""

import html
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from compodiff.benchmarks.datasets.assembled import open_assembled
from compodiff.drift.measures import MOST, Floats, SampleDistance, compare_samples
from compodiff.drift.reservoir import KeptQueries
from compodiff.errors import IndexMismatch, InputInvalid
from compodiff.search.progress import PhaseTimer
from compodiff.search.query import Query
from compodiff.search.searcher import Searcher
from compodiff.storage.atomic import replace_folder, write_json

KIND, REPORT, FIGURES = "drift report", "report.html", "drift.json"
LEAST_QUERIES = 100  # fewer say nothing
_LEAST_JUDGED = 20
_CHANCE = 0.01
_BATCH = 16


@dataclass(frozen=True)
class DriftFigures:
    """What a look for drift came to.

    Attributes:
        at: when.
        version: of the model that answered the live queries.
        seen: live queries that there were.
        tolerated: distance up to which no drift is said.
        distances: of answers and references.
        disliked: share of the pictures that people judged which they called less like it; None where few were.
        found: whether live queries have drifted, and what says so.
    """

    at: str
    version: str
    seen: int
    tolerated: float
    distances: dict[str, SampleDistance]
    disliked: float | None
    found: tuple[str, ...]


def look_for_drift(searcher: Searcher, benchmark: Path, kept: KeptQueries, tolerated: float, seed: int) -> DriftFigures:
    """Ask the model the benchmark's queries and compare what they are with what live ones were.

    Args:
        searcher: the champion over the benchmark's gallery.
        benchmark: an assembled one.
        kept: of live queries.
        tolerated: distance up to which no drift is said.
        seed: of what is drawn.

    Raises:
        InputInvalid: the benchmark is not there, or too few queries were kept.
        IndexMismatch: the queries were kept of a model with another encoder.
    """
    if len(kept.answers) < LEAST_QUERIES:
        raise InputInvalid(f"{len(kept.answers)} queries were kept; wait until there are {LEAST_QUERIES}")
    answers, references = _ask_benchmark(searcher, benchmark, seed)
    if answers.shape[1] != kept.answers.shape[1]:
        raise IndexMismatch(
            f"queries of {kept.version} were kept with {kept.answers.shape[1]} dimensions, this model has "
            f"{answers.shape[1]}; serve it for a while first"
        )
    distances = {"answers": compare_samples(kept.answers, answers, seed)}
    shown = kept.references[~np.isnan(kept.references[:, 0])]
    if len(shown) >= LEAST_QUERIES:
        distances["references"] = compare_samples(shown, references, seed)
    found = tuple(
        f"{name} lie {each.distance:.3f} from the benchmark's, {tolerated:.3f} is tolerated"
        for name, each in distances.items()
        if each.distance > tolerated and each.chance <= _CHANCE
    )
    judged = int(kept.liked.sum() + kept.disliked.sum())
    disliked = float(kept.disliked.sum() / judged) if judged >= _LEAST_JUDGED else None
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return DriftFigures(now, kept.version, kept.seen, tolerated, distances, disliked, found)


def write_drift_report(figures: DriftFigures, folder: Path) -> None:
    """Write drift.json and report.html as `folder`, whole or not at all.

    Raises:
        InputInvalid: the folder is somebody's.
        ResourceUnavailable: it cannot be written.
    """
    with replace_folder(folder, KIND) as temporary:
        write_json(temporary / FIGURES, asdict(figures))
        (temporary / REPORT).write_text(_draw_page(figures), encoding="utf-8")


def _ask_benchmark(searcher: Searcher, benchmark: Path, seed: int) -> tuple[Floats, Floats]:
    """Return the embeddings of answers and of references (M, D) of the benchmark's queries, some of them where many."""
    assembled = open_assembled(benchmark)
    queries = [query for part in assembled.load(assembled.split) for query in part.queries]
    if len(queries) > MOST:
        chosen = np.random.default_rng(seed).choice(len(queries), MOST, replace=False)
        queries = [queries[place] for place in sorted(chosen)]
    asked = [searcher.prepare(Query(each.reference, each.relative_caption, k=1)) for each in queries]
    found = [
        ranking
        for start in range(0, len(asked), _BATCH)
        for ranking in searcher.answer_all(asked[start : start + _BATCH], PhaseTimer())
    ]
    references = [each.reference for each in found if each.reference is not None]
    return np.stack([each.embedding for each in found]), np.stack(references)


def _draw_page(figures: DriftFigures) -> str:
    verdict = "; ".join(figures.found) or "live queries are like those of the benchmark"
    judged = "too few were judged" if figures.disliked is None else f"{figures.disliked:.0%}"
    tables = "".join(_draw_table(name, each) for name, each in figures.distances.items())
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>Drift</title>'
        "<style>body{font:16px/1.5 sans-serif;max-width:50em;margin:2em auto}td,th{padding:.2em 1em;text-align:left}"
        ".bar{background:#47a;height:.8em;display:inline-block}</style>"
        f"<h1>{'Drift' if figures.found else 'No drift'}</h1><p>{html.escape(verdict)}.</p>"
        f"<p>{html.escape(figures.at)}, {figures.seen:,} live queries of {html.escape(figures.version)}. "
        f"Of the pictures that people judged, called less like what they meant: {judged}.</p>{tables}</html>\n"
    )


def _draw_table(name: str, each: SampleDistance) -> str:
    bars: Sequence[str] = [
        f'<tr><td>{place}<td><span class="bar" style="width:{20 * share:.2f}em"></span> {share:.2f}'
        for place, share in enumerate(each.components, 1)
    ]
    return (
        f"<h2>{html.escape(name)}</h2><p>Maximum mean discrepancy {each.distance:.3f} of {each.live} live and "
        f"{each.benchmark} benchmark queries; {each.chance:.1%} of random divisions lie as far apart.</p>"
        f"<table><tr><th>principal component<th>Kolmogorov and Smirnov's distance{''.join(bars)}</table>"
    )
