"""`compodiff drift`: whether live queries still are what the champion was measured on."""

from pathlib import Path
from typing import Annotated

import typer

from compodiff.cli.output import echo
from compodiff.project import find_project_root
from compodiff.search.locate import CHAMPION

app = typer.Typer()


@app.command("drift")
def show_drift(
    queries: Annotated[Path, typer.Argument(help="The file of `compodiff serve --keep-queries`.")],
    *,
    model: Annotated[str, typer.Option(help="An alias, a version, or a folder with an index.")] = CHAMPION,
    benchmark: Annotated[
        Path | None,
        typer.Option(help="An assembled benchmark. Default: the one whose gallery is searched.", show_default=False),
    ] = None,
    tolerated: Annotated[float, typer.Option(min=0, help="Distance up to which no drift is said.")] = 0.1,
    seed: Annotated[int, typer.Option(min=0, help="Of what is drawn.")] = 17,
    to: Annotated[Path, typer.Option(help="Folder for report.html and drift.json.")] = Path("artifacts/drift"),
) -> None:
    """Compare embeddings of live queries with those of the benchmark's queries, and write a report."""
    from compodiff.drift.report import KIND, REPORT, look_for_drift, write_drift_report
    from compodiff.drift.reservoir import read_kept_queries
    from compodiff.params import load_params
    from compodiff.search.searcher import Searcher
    from compodiff.storage.ownership import require_replaceable_folder
    from compodiff.watching.textfiles import publish_drift

    require_replaceable_folder(to, KIND)
    kept = read_kept_queries(queries)
    if benchmark is None:
        root = find_project_root()
        benchmark = root / "artifacts" / "benchmarks" / load_params(root / "params.yaml").index.gallery
    figures = look_for_drift(Searcher.load(model), benchmark, kept, tolerated, seed)
    write_drift_report(figures, to)
    distances = {name: each.distance for name, each in figures.distances.items()}
    publish_drift(found=bool(figures.found), distances=distances, disliked=figures.disliked)
    echo(f"{to / REPORT}: {'; '.join(figures.found) or 'no drift'}")
