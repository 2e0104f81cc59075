"""What `make run` ends with: what became of each stage, the figures, and what to do next."""

import json
import re
import shlex
from pathlib import Path
from typing import Any

from prefect.artifacts import create_markdown_artifact, create_table_artifact
from rich.console import Console
from rich.table import Table

from compodiff.benchmarks.datasets.assembled import open_assembled
from compodiff.params import load_params
from compodiff.tracking.store import say_how_to_show_runs
from flows.tasks import StageOutcome

_METHODS = {
    "image_only": "image only",
    "text_only": "text only",
    "sum": "sum of embeddings",
    "product": "product of scores",
    "prior": "prior (stage 1)",
    "composed": "composed (stage 2)",
}


def show_outcomes(outcomes: list[StageOutcome]) -> None:
    """Print what became of each stage."""
    table = Table(title="Stages", title_justify="left")
    for column in ("stage", "outcome", "seconds", "reason"):
        table.add_column(column, justify="right" if column == "seconds" else "left", overflow="fold")
    for each in outcomes:
        table.add_row(each.stage, each.outcome, f"{each.seconds:.1f}", each.reason)
    Console().print(table)


def publish_results(project: Path) -> None:
    """Put the figures of each benchmark, and where reports, runs and models are, beside the flow's run in Prefect."""
    from compodiff.tracking.registry import find_registry_page

    for name, figures in _read_figures(project).items():
        table = [{"method": method, **_list_metrics(row)} for method, row in figures.items()]
        key = re.sub(r"[^a-z0-9]+", "-", f"figures-{name}".lower())  # all that Prefect lets a key have
        create_table_artifact(key=key, table=table, description=f"Benchmark {name}")
    links = [f"- registry: {find_registry_page(project)}"]
    for report in sorted((project / "artifacts" / "reports").glob("*/*.html")):
        links.append(f"- [{report.relative_to(project)}]({report.as_uri()})")
    create_markdown_artifact("\n".join(links), key="links", description="Models, runs and reports.")


def show_results(project: Path, preset: str | None) -> None:
    """Print the figures of every benchmark, where reports and runs are, and a search to try.

    Args:
        project: the folder that holds params.yaml and artifacts/.
        preset: whose project that is, if a preset's.
    """
    console = Console(soft_wrap=True)
    for name, figures in _read_figures(project).items():
        table = Table(title=f"Benchmark {name}", title_justify="left")
        table.add_column("method")
        for metric in _list_metrics(next(iter(figures.values()))):
            table.add_column(metric.replace("recall_at_", "R@").replace("map_at_", "mAP@"), justify="right")
        for method, row in figures.items():
            table.add_row(_METHODS.get(method, method), *(f"{value:.3f}" for value in _list_metrics(row).values()))
        console.print(table)
    if preset:
        console.print(f"preset   cd presets/{preset}: there are")
    reports = sorted((project / "artifacts" / "reports").glob("*/report.html"))
    console.print(f"reports  {', '.join(str(report.relative_to(project)) for report in reports)}")
    shown = f"make ui PRESET={preset} in the project above" if preset else say_how_to_show_runs(project)
    console.print(f"runs     {shown}, then http://127.0.0.1:5000")
    console.print(f"try      {_find_program(project)} search {_find_query(project)}")


def _find_program(project: Path) -> str:
    own = Path(".venv", "bin", "compodiff")
    return str(own) if (project / own).is_file() else "compodiff"


def _find_query(project: Path) -> str:
    """Return a query of the benchmark whose gallery is searched, as options of `compodiff search`."""
    gallery = load_params(project / "params.yaml").index.gallery
    assembled = open_assembled(project / "artifacts" / "benchmarks" / gallery)
    query = assembled.load(assembled.split)[0].queries[0]
    return f"--reference {shlex.quote(query.reference)} --text {shlex.quote(query.relative_caption)}"


def _read_figures(project: Path) -> dict[str, dict[str, Any]]:
    """Return benchmark -> method -> figures, of the benchmarks of params.yaml that were measured."""
    found: dict[str, dict[str, Any]] = {}
    for name in load_params(project / "params.yaml").benchmarks:
        path = project / "artifacts" / "metrics" / f"{name}.json"
        if path.is_file():
            content = json.loads(path.read_text(encoding="utf-8"))
            found[name] = {method: row for method, row in content.items() if method != "record"}
    return found


def _list_metrics(row: dict[str, Any]) -> dict[str, float]:
    return {metric: value for metric, value in row.items() if isinstance(value, float)}
