"""What `make run` ends with: what became of each stage, the figures, and what to do next."""

import json
from pathlib import Path
from typing import Any

from prefect.artifacts import create_markdown_artifact, create_table_artifact
from rich.console import Console
from rich.table import Table

from flows.tasks import StageOutcome

_BENCHMARKS = {
    "emoji": "Emoji benchmark, unseen concepts",
    "scenes": "Scenes benchmark, edits of unseen objects",
}
_METHODS = {
    "image_only": "image only",
    "text_only": "text only",
    "sum": "sum of embeddings",
    "product": "product of scores",
    "prior": "prior (stage 1)",
    "composed": "composed (stage 2)",
}
_RECALLS = ("recall_at_1", "recall_at_5", "recall_at_10")


def show_outcomes(outcomes: list[StageOutcome]) -> None:
    """Print what became of each stage."""
    table = Table(title="Stages", title_justify="left")
    for column in ("stage", "outcome", "seconds", "reason"):
        table.add_column(column, justify="right" if column == "seconds" else "left", overflow="fold")
    for each in outcomes:
        table.add_row(each.stage, each.outcome, f"{each.seconds:.1f}", each.reason)
    Console().print(table)


def publish_results(project: Path) -> None:
    """Put the figures of each benchmark, and where report, runs and models are, beside the flow's run in Prefect."""
    from compodiff.tracking.registry import find_registry_page

    for path in sorted((project / "artifacts" / "metrics").glob("*.json")):
        rows = {name: row for name, row in _read(path).items() if name != "record"}
        table = [{"method": name, **{recall: row[recall] for recall in _RECALLS}} for name, row in rows.items()]
        create_table_artifact(key=f"figures-{path.stem}", table=table, description=f"Benchmark {path.stem}")
    links = [f"- registry: {find_registry_page(project)}"]
    for report in sorted((project / "artifacts").glob("*report*/*.html")):
        links.append(f"- [{report.relative_to(project)}]({report.as_uri()})")
    create_markdown_artifact("\n".join(links), key="links", description="Models, runs and reports.")


def show_results(project: Path, preset: str | None) -> None:
    """Print the figures of both benchmarks, where reports and runs are, and a search to try.

    Args:
        project: the folder that holds params.yaml and artifacts/.
        preset: whose project that is, if a preset's.
    """
    console = Console(soft_wrap=True)
    for name, title in _BENCHMARKS.items():
        figures = _read(project / f"artifacts/metrics/{name}.json")
        table = Table(title=title, title_justify="left")
        table.add_column("method")
        for recall in _RECALLS:
            table.add_column(recall.replace("recall_at_", "R@"), justify="right")
        for method, words in _METHODS.items():
            table.add_row(words, *(f"{figures[method][recall]:.3f}" for recall in _RECALLS))
        console.print(table)
    if preset:
        console.print(f"preset   cd presets/{preset}: there are")
    console.print("reports  artifacts/report/report.html, artifacts/scenes_report/report.html")
    console.print(
        f"runs     make ui{f' PRESET={preset} in the project above' if preset else ''}, then http://127.0.0.1:5000"
    )
    console.print("try      .venv/bin/compodiff search --reference twemoji-1F44B --text 'with dark skin tone'")


def _read(metrics: Path) -> dict[str, Any]:
    figures: dict[str, Any] = json.loads(metrics.read_text(encoding="utf-8"))
    return figures
