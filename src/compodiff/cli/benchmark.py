"""`compodiff benchmark`: the field's benchmarks and your own, with your embeddings or with a model of this project."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from compodiff.cli.options import Model, Steps, WImage, WText
from compodiff.cli.options import Seed as SamplingSeed
from compodiff.cli.output import echo, print_table
from compodiff.project import find_project_root
from compodiff.search.locate import CHAMPION, find_model_parts

if TYPE_CHECKING:
    from compodiff.benchmarks.report.comparison import Comparison

NAMES = "cirr, fashioniq, circo, genecis-TASK (change-object ...), genecis (all four) or triplets"
Name = Annotated[str, typer.Argument(help=NAMES)]
Root = Annotated[Path, typer.Option("--root", help="The benchmark's folder as you have it; see `doctor`.")]
Split = Annotated[str | None, typer.Option("--split", help="Default: val; triplets: test.", show_default=False)]
Gallery = Annotated[Path, typer.Option("--gallery", help="G.npz: ids (N,) and embeddings (N, D).")]
Queries = Annotated[Path, typer.Option("--queries", help="Q.npz: embeddings (Q, D) in the order of the annotations.")]
Category = Annotated[str | None, typer.Option("--category", help="fashioniq: dress, shirt or toptee. Default: all.")]
Variant = Annotated[str | None, typer.Option("--gallery-variant", help="fashioniq: original (default) or val.")]
SkipMissing = Annotated[bool, typer.Option("--skip-missing", help="Leave out and count pictures without an embedding.")]
Chunk = Annotated[int, typer.Option("--chunk", min=1, help="Gallery rows scored at once: memory and speed only.")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Of the confidence intervals.")]
Draws = Annotated[int, typer.Option("--draws", min=1, help="Resamplings behind the confidence intervals.")]


app = typer.Typer(name="benchmark", help="Score on FashionIQ, CIRR, CIRCO, GeneCIS or triplets.", no_args_is_help=True)


@app.command("run")
def run(
    name: Name,
    *,
    root: Root,
    split: Split = None,
    model: Model = CHAMPION,
    json_out: Annotated[Path | None, typer.Option("--json", help="Write the result; fit for dvc metrics.")] = None,
    html: Annotated[Path | None, typer.Option(help="Write a page with queries and their ranked pictures.")] = None,
    category: Category = None,
    gallery_variant: Variant = None,
    template: Annotated[str | None, typer.Option(help="Text template; {relative_caption} stands for the text.")] = None,
    caption_order: Annotated[str | None, typer.Option(help="fashioniq: both (default) or first.")] = None,
    skip_missing: SkipMissing = False,
    sum_weight: Annotated[float, typer.Option(min=0, max=1, help="Weight of the text in the row `sum`.")] = 0.5,
    product_offset: Annotated[float, typer.Option(min=0, help="Added to the cosines of the row `product`.")] = 0.0,
    w_image: WImage = None,
    w_text: WText = None,
    steps: Steps = None,
    seed: SamplingSeed = None,
    cache: Annotated[Path | None, typer.Option(help="Of embeddings. Default: artifacts/benchmark_embeddings.")] = None,
    track: Annotated[bool, typer.Option("--track/--no-track", help="Record the result in MLflow.")] = True,
) -> None:
    """Embed (once), retrieve and score; all that the score depends on stands in the result."""
    from compodiff.benchmarks import run as use_case
    from compodiff.benchmarks.baselines import BaselineDials
    from compodiff.benchmarks.datasets.embedding import CACHE
    from compodiff.benchmarks.datasets.loading import BenchmarkChoices
    from compodiff.benchmarks.report.comparison import require_result_files, write_result
    from compodiff.params import load_params
    from compodiff.tracking.runs import record_scores

    require_result_files(json_out, html)
    project = find_project_root()
    params = load_params(project / "params.yaml")
    choices = BenchmarkChoices(category, gallery_variant, template, caption_order)
    given = {"w_image": w_image, "w_text": w_text, "num_inference_steps": steps, "seed": seed}
    folders = find_model_parts(model)
    places = cache or project / CACHE, model, folders.composed, folders.encoder
    told = use_case.Preparation(name, root, split, choices, skip_missing, *places, given)
    prepared = use_case.prepare_run(told, BaselineDials(sum_weight, product_offset), params)
    comparison = use_case.run_benchmark(prepared)
    _print_comparison(f"{name} {comparison.record['split']}", comparison)
    written = write_result(comparison, prepared.source.embeddings, params.evaluation, json_out, html)
    if track:
        record_scores(f"benchmark_{name}", comparison.record, comparison.summaries, written, project / "params.yaml")


@app.command("score")
def score(
    name: Name,
    *,
    root: Root,
    gallery: Gallery,
    queries: Queries,
    split: Split = None,
    category: Category = None,
    gallery_variant: Variant = None,
    skip_missing: SkipMissing = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    chunk: Chunk = 4096,
    draws: Draws = 1000,
    seed: Seed = 17,
) -> None:
    """Score embeddings of any model; pictures are not needed, embeddings need not be normalised."""
    from tqdm import tqdm

    from compodiff.benchmarks.datasets.loading import BenchmarkChoices, find_entry, load_benchmark
    from compodiff.benchmarks.scoring.metrics import Bootstrap
    from compodiff.benchmarks.scoring.results import score_embeddings
    from compodiff.benchmarks.scoring.scorer import Scorer
    from compodiff.benchmarks.scoring.vectors import load_gallery, load_queries

    parts = load_benchmark(name, root, split, BenchmarkChoices(category=category, gallery_variant=gallery_variant))
    pictures = load_gallery(gallery, find_entry(name).shorten_id)
    with tqdm(desc="scoring", unit=" pictures", unit_scale=True, disable=None) as bar:
        scorer = Scorer(chunk=chunk, skip_missing=skip_missing, progress=bar.update)
        result = score_embeddings(parts, pictures, load_queries(queries), scorer, Bootstrap(draws, seed))
    if as_json:
        typer.echo(json.dumps(result, indent=2, allow_nan=False))
    else:
        _print_scores(f"{name} {parts[0].split}", result)


@app.command("submit")
def submit(
    name: Annotated[str, typer.Argument(help="cirr or circo")],
    root: Root,
    gallery: Gallery,
    queries: Queries,
    out: Annotated[Path, typer.Option("--out", help="Folder for the files.")],
    split: Annotated[str | None, typer.Option("--split", help="Default: test1 of cirr, test of circo.")] = None,
    chunk: Chunk = 4096,
) -> None:
    """Write the test server's files from your embeddings."""
    from compodiff.benchmarks.datasets.loading import find_entry
    from compodiff.benchmarks.scoring.ranking import Similarity
    from compodiff.benchmarks.scoring.vectors import load_gallery, load_queries
    from compodiff.benchmarks.submission import WRITERS, load_server_benchmark

    benchmark = load_server_benchmark(name, root, split)
    pictures = load_gallery(gallery, find_entry(name).shorten_id)
    for path in WRITERS[name](out, benchmark, pictures, Similarity((load_queries(queries),)), chunk):
        echo(path)


@app.command("check-submission")
def check_submission(
    name: Annotated[str, typer.Argument(help="cirr or circo")],
    file: Annotated[Path, typer.Argument(help="The file that would be uploaded.")],
    root: Root,
    split: Annotated[str | None, typer.Option("--split", help="Default: test1 of cirr, test of circo.")] = None,
) -> None:
    """Refuse a broken submission, naming the query and the fault."""
    from compodiff.benchmarks.submission import CHECKERS, load_server_benchmark

    benchmark = load_server_benchmark(name, root, split, file)
    what = CHECKERS[name](file, benchmark)
    echo(f"{file} is good: {what}, {len(benchmark.queries):,} queries")


@app.command("doctor")
def examine_benchmark(name: Name, root: Root) -> None:
    """Say what is there, what is missing and where to get it."""
    from compodiff.benchmarks.datasets.doctor import examine, list_sources

    for finding in examine(name, root):
        echo(f"{'ok     ' if finding.is_good else 'missing'}  {finding.what}")
    typer.echo()
    echo("where to get it")
    for line in list_sources(name):
        echo(f"  {line}")


def _print_scores(title: str, result: dict[str, Any]) -> None:
    parts: dict[str, Any] = result.get("parts", {})
    rows = []
    for metric, value in result["metrics"].items():
        low, high = result["intervals"][metric]
        own = [f"{100 * part[metric]:.2f}" for part in parts.values()]
        rows.append((metric, *own, f"{100 * value:.2f}", f"{100 * low:.2f} - {100 * high:.2f}"))
    names = (*parts, "all" if "parts" in result else "score", "95 % interval")
    print_table([("metric", "left"), *((name, "right") for name in names)], rows, title=title)
    details = result["record"]
    echo(f"{details['queries']} queries, gallery {details['gallery']} ({details['gallery_variant']})")
    if details["pictures_not_of_the_benchmark"]:
        echo(f"{details['pictures_not_of_the_benchmark']} embeddings are of other pictures and were not ranked")
    if details["missing_pictures"] or details["skipped_queries"]:
        echo(f"{details['missing_pictures']} pictures missing, {details['skipped_queries']} queries left out")


def _print_comparison(title: str, comparison: "Comparison") -> None:
    """Print metrics down, rows across, per cent; the composed row with its interval."""
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
