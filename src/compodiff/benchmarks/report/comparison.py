"""Several ways to answer one benchmark, scored alike, and the report that sets them side by side."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from compodiff.benchmarks.answers import read_gallery_vectors
from compodiff.benchmarks.datasets.benchmark import Benchmark
from compodiff.benchmarks.edited_regions import EDITS, RegionEncoder, measure_edits
from compodiff.benchmarks.report.page import Report, ShownQuery, render_report
from compodiff.benchmarks.report.plots import plot_groups, plot_intervals
from compodiff.benchmarks.report.showcase import ScoredRow, Showcase
from compodiff.benchmarks.scoring.ranking import Similarity
from compodiff.benchmarks.scoring.results import list_outcomes, record, summarise_parts
from compodiff.benchmarks.scoring.scorer import Scorer
from compodiff.benchmarks.scoring.vectors import Vectors
from compodiff.embeddings import Embeddings
from compodiff.outcomes import Bootstrap, QueryOutcomes
from compodiff.params import EvaluationParams
from compodiff.storage.atomic import replace_folder, replace_path, write_json
from compodiff.storage.ownership import PAGE, require_replaceable_file

COMPOSED = "composed"
ONE_MODALITY = ("image_only", "text_only")
_SHOWN_PARTS = 12  # of a benchmark of hundreds
RESULT = "benchmark result"
OUTCOMES = "outcomes.json"  # beside the page of a report: the gate of promotion compares two models by it


@dataclass(frozen=True)
class Comparison:
    """Scored rows of a benchmark.

    Attributes:
        rows: row name -> one scored part after the other; `composed` is among the names.
        summaries: row name -> its summary.
        record: all that the scores depend on.
    """

    rows: Mapping[str, Sequence[ScoredRow]]
    summaries: Mapping[str, Mapping[str, Any]]
    record: Mapping[str, Any]

    def add_to_record(self, **settings: Any) -> "Comparison":
        """Return the same with more in the record."""
        return replace(self, record={**self.record, **settings})

    def measure_edits(self, vectors: Vectors, regions: RegionEncoder, params: EvaluationParams) -> "Comparison":
        """Return the same with what the best answers keep, and what of the edit arrives, where regions are known.

        Raises:
            InputInvalid: a region's file is not there, or has another shape than its picture.
        """
        bootstrap = Bootstrap(params.bootstrap_draws, params.seed)
        found = measure_edits(self.rows, vectors, regions, bootstrap, params.edited_queries, params.chunk)
        summaries = {name: _add_measures(summary, found.get(name, {})) for name, summary in self.summaries.items()}
        return replace(self, summaries=summaries)

    @property
    def edits(self) -> list[str]:
        """The measures of edits that every row has."""
        return [name for name in EDITS if name in self.summaries[COMPOSED]["metrics"]]

    def describe_result(self) -> dict[str, Any]:
        """Return as JSON types the composed row's metrics, every row, the composition gap, and the record."""
        return {
            "metrics": self.summaries[COMPOSED]["metrics"],
            "rows": self.summaries,
            "composition_gap": self.measure_composition_gap(),
            "record": self.record,
        }

    def measure_composition_gap(self) -> dict[str, dict[str, Any]]:
        """Measure by how much the composed row beats the better of reference alone and text alone.

        Returns:
            Metric -> `gap`, its `interval` (query by query, by the record's bootstrap), and `against`, the row that it
            is measured against; nothing of negative recalls, of which less is better, of measures of edits, which are
            of some queries only, and nothing without such rows.
        """
        others = [row for row in ONE_MODALITY if row in self.summaries]
        names = [name for name in self.rows[COMPOSED][0].scored.outcomes if not name.startswith("negative_")]
        if not others or not names:
            return {}
        means = {row: self.summaries[row]["metrics"] for row in others}
        against = {name: max(others, key=lambda row: means[row][name]) for name in names}
        differences = [
            {name: part.scored.outcomes[name] - self.rows[against[name]][place].scored.outcomes[name] for name in names}
            for place, part in enumerate(self.rows[COMPOSED])
        ]
        concepts = [[query.concept for query in part.scored.kept] for part in self.rows[COMPOSED]]
        intervals = Bootstrap(**self.record["bootstrap"]).estimate_intervals(differences, concepts)
        composed = self.summaries[COMPOSED]["metrics"]
        return {
            name: {"gap": composed[name] - means[row][name], "interval": intervals[name], "against": row}
            for name, row in against.items()
        }

    def list_outcomes(self, metrics: Sequence[str]) -> QueryOutcomes:
        """Return the outcomes of the composed row, query by query."""
        scored = [row.scored for row in self.rows[COMPOSED]]
        return list_outcomes(scored, Bootstrap(**self.record["bootstrap"]), metrics)

    def describe_recalls(self, recalls: Sequence[str]) -> dict[str, Any]:
        """Return what artifacts/metrics/emoji.json holds: recalls, intervals, both for each relation; the record.

        Queries of a benchmark without relations, such as CIRR, have none.
        """
        rows = {
            name: {
                **{measure: row["metrics"][measure] for measure in (*recalls, *self.edits)},
                "intervals": {measure: row["intervals"][measure] for measure in (*recalls, *self.edits)},
                "mean_over_relations": {
                    recall: row["group_means"][recall] for recall in recalls if row.get("group_means")
                },
                "relations": {
                    relation: {key: values[key] for key in (*recalls, "queries")}
                    for relation, values in row.get("groups", {}).items()
                },
            }
            for name, row in self.summaries.items()
        }
        return rows | {"record": dict(self.record)}


def _add_measures(summary: Mapping[str, Any], measures: Mapping[str, tuple[float, float, float]]) -> Mapping[str, Any]:
    return {
        **summary,
        "metrics": {**summary["metrics"], **{name: mean for name, (mean, _, _) in measures.items()}},
        "intervals": {**summary["intervals"], **{name: (low, high) for name, (_, low, high) in measures.items()}},
    }


def compare_rows(
    parts: Sequence[Benchmark],
    vectors: Vectors,
    rows: Mapping[str, Sequence[Similarity]],
    scorer: Scorer,
    params: EvaluationParams,
) -> Comparison:
    """Score every row, a similarity for each part of one benchmark, and sum the rows up as params.yaml says."""
    bootstrap = Bootstrap(params.bootstrap_draws, params.seed)
    scored = {
        name: [
            ScoredRow(similarity, scorer.score(part, vectors, similarity))
            for part, similarity in zip(parts, similarities, strict=True)
        ]
        for name, similarities in rows.items()
    }
    least = params.min_relation_queries
    summaries = {
        name: summarise_parts([row.scored for row in of_parts], bootstrap, min_group_queries=least)
        for name, of_parts in scored.items()
    }
    return Comparison(scored, summaries, record([row.scored for row in scored[COMPOSED]], bootstrap))


@dataclass(frozen=True)
class ReportLayout:
    """What a report shows besides the numbers: its title, which metrics, how much, and whose the pictures are."""

    title: str
    metrics: Sequence[str]
    showcase: Showcase
    attribution: str = ""

    def write(self, folder: Path, comparison: Comparison, vectors: Vectors) -> None:
        """Write report.html, its plots and the outcomes as the folder `folder`, whole or not at all."""
        plots = self.make_plots(comparison)
        with replace_folder(folder, "report") as temporary:
            for name, png in plots.items():
                (temporary / f"{name}.png").write_bytes(png)
            html = self.render(comparison, vectors, plots)
            (temporary / "report.html").write_text(html, encoding="utf-8")
            write_json(temporary / OUTCOMES, comparison.list_outcomes(self.metrics).to_json())

    def write_file(self, path: Path, comparison: Comparison, vectors: Vectors) -> None:
        """Write the page alone."""
        html = self.render(comparison, vectors, self.make_plots(comparison))
        with replace_path(path, PAGE) as temporary:
            temporary.write_text(html, encoding="utf-8")

    def make_plots(self, comparison: Comparison) -> dict[str, bytes]:
        """Plot, by name, all queries, and each metric's groups where the queries have any."""
        plots = {"all_queries": plot_intervals(comparison.summaries, self.metrics)}
        groups = list(comparison.summaries[COMPOSED].get("groups", ()))
        if groups:
            plots |= {f"{name}_by_group": plot_groups(comparison.summaries, name, groups) for name in self.metrics}
        return plots

    def render(self, comparison: Comparison, vectors: Vectors, plots: Mapping[str, bytes]) -> str:
        """Return the page as HTML."""
        parts = comparison.rows[COMPOSED]
        shown: dict[str, list[ShownQuery]] = {}
        for number, row in enumerate(parts[:_SHOWN_PARTS]):
            of_part = {name: rows[number] for name, rows in comparison.rows.items()}
            for heading, queries in self.showcase.pick(of_part, vectors).items():
                shown.setdefault(f"{heading} {row.scored.benchmark.part}".rstrip(), []).extend(queries)
        report = Report(
            self.title,
            comparison.summaries,
            self.metrics,
            comparison.record,
            plots,
            shown,
            self.attribution,
            comparison.edits,
        )
        of_parts = [row.scored.benchmark for row in parts[:_SHOWN_PARTS]]
        owners = {name: part.pictures for part in of_parts for name in part.named_pictures}
        return render_report(report, lambda name: owners[name].read(name))


def require_result_files(json: Path | None, html: Path | None) -> None:
    """Check that nothing of anybody's is lost when a result is written to these files.

    Raises:
        InputInvalid: one of them is somebody's.
    """
    require_replaceable_file(json, RESULT)
    require_replaceable_file(html, PAGE)


def write_result(
    comparison: Comparison, embeddings: Embeddings, params: EvaluationParams, json: Path | None, html: Path | None
) -> list[Path]:
    """Write the result as JSON, and a page of queries with their ranked pictures, where asked for; return the files."""
    if json is not None:
        write_json(json, comparison.describe_result(), RESULT)
    if html is not None:
        metrics = list(comparison.summaries[COMPOSED]["metrics"])
        title = f"{comparison.record['benchmark']} {comparison.record['split']}"
        layout = ReportLayout(title, metrics, Showcase.of(params))
        layout.write_file(html, comparison, read_gallery_vectors(embeddings))
    return [path for path in (json, html) if path is not None]
