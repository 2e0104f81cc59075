"""`compodiff benchmark run NAME`: a model of this project on a benchmark, with the baselines beside it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from compodiff.cli.benchmark import Category, Name, Root, SkipMissing, Split, Variant
from compodiff.cli.output import echo, print_table
from compodiff.project import project_root
from compodiff.search.locate import CHAMPION, model_parts

if TYPE_CHECKING:
    from compodiff.benchmarks.report.comparison import Comparison


def run(
    name: Name,
    *,
    root: Root,
    split: Split = None,
    model: Annotated[str, typer.Option(help="An alias, or a folder with composed/ and encoder/.")] = CHAMPION,
    json_out: Annotated[Path | None, typer.Option("--json", help="Write the result; fit for dvc metrics.")] = None,
    html: Annotated[Path | None, typer.Option(help="Write a page with queries and their ranked pictures.")] = None,
    category: Category = None,
    gallery_variant: Variant = None,
    template: Annotated[str | None, typer.Option(help="Text template; {relative_caption} stands for the text.")] = None,
    caption_order: Annotated[str | None, typer.Option(help="fashioniq: both (default) or first.")] = None,
    skip_missing: SkipMissing = False,
    sum_weight: Annotated[float, typer.Option(min=0, max=1, help="Weight of the text in the row `sum`.")] = 0.5,
    product_offset: Annotated[float, typer.Option(min=0, help="Added to the cosines of the row `product`.")] = 0.0,
    w_image: Annotated[float | None, typer.Option(help="Default: the model's.")] = None,
    w_text: Annotated[float | None, typer.Option(help="Default: the model's.")] = None,
    steps: Annotated[int | None, typer.Option(help="Network calls. Default: the model's.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of the noise. Default: the model's.")] = None,
    cache: Annotated[Path | None, typer.Option(help="Of embeddings. Default: artifacts/benchmark_embeddings.")] = None,
    track: Annotated[bool, typer.Option("--track/--no-track", help="Record the result in MLflow.")] = True,
) -> None:
    """Embed (once), retrieve and score; all that the score depends on stands in the result."""
    from compodiff.benchmarks import run as use_case
    from compodiff.benchmarks.answers import gallery_vectors
    from compodiff.benchmarks.baselines import Dials
    from compodiff.benchmarks.datasets.loading import Choices, load_benchmark
    from compodiff.benchmarks.embedding import CACHE, present
    from compodiff.benchmarks.report.comparison import RESULT, write_result
    from compodiff.params import load_params
    from compodiff.search.masks import mask_cells
    from compodiff.storage.ownership import PAGE, require_replaceable_file
    from compodiff.tracking.runs import record_scores

    require_replaceable_file(json_out, RESULT)
    require_replaceable_file(html, PAGE)
    project = project_root()
    params = load_params(project / "params.yaml")
    parts = load_benchmark(name, root, split, Choices(category, gallery_variant, template, caption_order))
    there = present(parts, skip_missing=skip_missing)
    given = {"w_image": w_image, "w_text": w_text, "num_inference_steps": steps, "seed": seed}
    folders = model_parts(model)
    told = use_case.Preparation(
        root, cache or project / CACHE, mask_cells, model, folders.composed, folders.encoder, given
    )
    prepared = use_case.prepare_run(told, there, Dials(sum_weight, product_offset), params)
    comparison = use_case.run_benchmark(prepared)
    _print(f"{name} {parts[0].split}", comparison)
    vectors = gallery_vectors(prepared.source.embeddings)
    written = write_result(comparison, vectors, params.evaluation, json_out, html)
    if track:
        scores = {row: summary["metrics"] for row, summary in comparison.summaries.items()}
        record_scores(f"benchmark_{name}", comparison.record, scores, written, project / "params.yaml")


def _print(title: str, comparison: "Comparison") -> None:
    """Metrics down, rows across, per cent; the composed row with its interval."""
    from compodiff.benchmarks.report.comparison import COMPOSED

    summaries = comparison.summaries
    rows = []
    for metric, (low, high) in summaries[COMPOSED]["intervals"].items():
        cells = [f"{100 * summary['metrics'][metric]:.2f}" for summary in summaries.values()]
        rows.append((metric.replace("_", " "), *cells, f"{100 * low:.2f} - {100 * high:.2f}"))
    names = (*(row.replace("_", " ") for row in summaries), "95 % interval")
    print_table([("per cent", "left"), *((name, "right") for name in names)], rows, title=title)
    record = comparison.record
    left_out = record["skipped_queries"] + record["queries_without_reference"]
    echo(f"{record['queries']} queries, gallery {record['gallery']}; {record['missing_pictures']} pictures missing")
    if left_out:
        echo(f"{left_out} queries left out, whose reference or targets are missing")
