"""`compodiff benchmark`: the field's benchmarks and your own, with your embeddings or with a model of this project."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from compodiff.cli.benchmark_tables import print_comparison, print_missing, print_scores
from compodiff.cli.options import Model, Steps, WImage, WText
from compodiff.cli.options import Seed as SamplingSeed
from compodiff.cli.output import echo
from compodiff.errors import InputInvalid
from compodiff.project import find_params_file, find_project_or_home
from compodiff.search.locate import choose_model, find_model_parts

if TYPE_CHECKING:
    from compodiff.benchmarks.baselines import BaselineDials
    from compodiff.benchmarks.datasets.loading import BenchmarkChoices
    from compodiff.benchmarks.run import BenchmarkRun
    from compodiff.params import Params

NAMES = "cirr, fashioniq, circo, genecis-TASK (change-object ...), genecis, pinpoint, icir, mbeir, circus or triplets"
Name = Annotated[str, typer.Argument(help=NAMES)]
Root = Annotated[Path, typer.Option("--root", help="The benchmark's folder as you have it; see `doctor`.")]
Split = Annotated[
    str | None, typer.Option("--split", help="Default: val, or test where there is none.", show_default=False)
]
Gallery = Annotated[Path, typer.Option("--gallery", help="G.npz: ids (N,) and embeddings (N, D).")]
Queries = Annotated[Path, typer.Option("--queries", help="Q.npz: embeddings (Q, D) in the order of the annotations.")]
Category = Annotated[
    str | None,
    typer.Option("--category", help="One part: dress, a data set of mbeir, an instance of icir. Default: all."),
]
Variant = Annotated[str | None, typer.Option("--gallery-variant", help="fashioniq: original (default) or val.")]
SkipMissing = Annotated[bool, typer.Option("--skip-missing", help="Leave out and count pictures without an embedding.")]
Chunk = Annotated[int, typer.Option("--chunk", min=1, help="Gallery rows scored at once: memory and speed only.")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Of the confidence intervals.")]
Draws = Annotated[int, typer.Option("--draws", min=1, help="Resamplings behind the confidence intervals.")]
Template = Annotated[str | None, typer.Option(help="Text template; {relative_caption} stands for the text.")]
Order = Annotated[str | None, typer.Option("--caption-order", help="fashioniq: both (default) or first.")]
Cache = Annotated[Path | None, typer.Option(help="Of embeddings. Default: artifacts/embedded_benchmarks.")]
Server = Annotated[str, typer.Argument(help="cirr or circo")]
ServerSplit = Annotated[str | None, typer.Option("--split", help="Default: test1 of cirr, test of circo.")]


app = typer.Typer(name="benchmark", help="Score on the field's benchmarks or on triplets.", no_args_is_help=True)


@app.command("run")
def run(
    name: Name,
    *,
    root: Root,
    split: Split = None,
    model: Model = None,
    json_out: Annotated[Path | None, typer.Option("--json", help="Write the result; fit for dvc metrics.")] = None,
    html: Annotated[Path | None, typer.Option(help="Write a page with queries and their ranked pictures.")] = None,
    category: Category = None,
    gallery_variant: Variant = None,
    template: Template = None,
    caption_order: Order = None,
    skip_missing: SkipMissing = False,
    sum_weight: Annotated[float, typer.Option(min=0, max=1, help="Weight of the text in the row `sum`.")] = 0.5,
    product_offset: Annotated[float, typer.Option(min=0, help="Added to the cosines of the row `product`.")] = 0.0,
    w_image: WImage = None,
    w_text: WText = None,
    steps: Steps = None,
    seed: SamplingSeed = None,
    cache: Cache = None,
    track: Annotated[bool, typer.Option("--track/--no-track", help="Record the result in MLflow.")] = True,
) -> None:
    """Embed (once), retrieve and score; all that the score depends on stands in the result."""
    from compodiff.benchmarks.baselines import BaselineDials
    from compodiff.benchmarks.datasets.loading import BenchmarkChoices
    from compodiff.benchmarks.report.comparison import require_result_files, write_result
    from compodiff.benchmarks.run import run_benchmark
    from compodiff.tracking.runs import record_scores

    require_result_files(json_out, html)
    choices = BenchmarkChoices(category, gallery_variant, template, caption_order)
    given = {"w_image": w_image, "w_text": w_text, "num_inference_steps": steps, "seed": seed}
    dials = BaselineDials(sum_weight, product_offset)
    prepared, params, project = _prepare(
        name, root, split, choices, model, given, cache, dials=dials, skip_missing=skip_missing
    )
    comparison = run_benchmark(prepared)
    print_comparison(f"{name} {comparison.record['split']}", comparison)
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
    from compodiff.benchmarks.scoring.results import score_embeddings
    from compodiff.benchmarks.scoring.scorer import Scorer
    from compodiff.benchmarks.scoring.vectors import load_embeddings
    from compodiff.outcomes import Bootstrap

    parts = load_benchmark(name, root, split, BenchmarkChoices(category=category, gallery_variant=gallery_variant))
    given = load_embeddings(gallery, queries, find_entry(name).shorten_id)
    with tqdm(desc="scoring", unit=" pictures", unit_scale=True, disable=None) as bar:
        scorer = Scorer(chunk=chunk, skip_missing=skip_missing, progress=bar.update)
        result = score_embeddings(parts, given, scorer, Bootstrap(draws, seed))
    if as_json:
        typer.echo(json.dumps(result, indent=2, allow_nan=False))
    else:
        print_scores(f"{name} {parts[0].split}", result)


@app.command("embed")
def embed(
    name: Name,
    *,
    root: Root,
    to: Annotated[tuple[Path, Path], typer.Option("--to", help="Files for the gallery and the queries: G.npz Q.npz.")],
    split: Split = None,
    model: Model = None,
    category: Category = None,
    gallery_variant: Variant = None,
    template: Template = None,
    caption_order: Order = None,
    skip_missing: SkipMissing = False,
    w_image: WImage = None,
    w_text: WText = None,
    steps: Steps = None,
    seed: SamplingSeed = None,
    cache: Cache = None,
) -> None:
    """Write a model's embeddings of the gallery and its answers to the queries, as `score` and `submit` read them."""
    from compodiff.benchmarks.datasets.loading import BenchmarkChoices
    from compodiff.benchmarks.model_files import require_embedding_files, write_embeddings

    require_embedding_files(*to)
    choices = BenchmarkChoices(category, gallery_variant, template, caption_order)
    given = {"w_image": w_image, "w_text": w_text, "num_inference_steps": steps, "seed": seed}
    prepared, _, _ = _prepare(name, root, split, choices, model, given, cache, skip_missing=skip_missing)
    pictures, queries = write_embeddings(prepared, *to)
    echo(f"{to[0]}: {pictures:,} pictures; {to[1]}: {queries:,} queries")
    print_missing(prepared.settings, "left out")


@app.command("submit")
def submit(
    name: Server,
    *,
    root: Root,
    out: Annotated[Path, typer.Option("--out", help="Folder for the files.")],
    split: ServerSplit = None,
    model: Model = None,
    gallery: Annotated[Path | None, typer.Option(help="With --queries, in place of --model: as of `score`.")] = None,
    queries: Annotated[Path | None, typer.Option(help="Embeddings of any model, as of `score`.")] = None,
    template: Template = None,
    skip_missing: SkipMissing = False,
    w_image: WImage = None,
    w_text: WText = None,
    steps: Steps = None,
    seed: SamplingSeed = None,
    cache: Cache = None,
    chunk: Chunk = 4096,
) -> None:
    """Write the test server's files, of a model's answers or of your embeddings, each checked before it is written."""
    from compodiff.benchmarks import submission
    from compodiff.benchmarks.datasets.loading import BenchmarkChoices, find_entry
    from compodiff.benchmarks.model_files import write_model_submission
    from compodiff.benchmarks.scoring.vectors import load_embeddings

    split = submission.choose_server_split(name, split)
    submission.require_submission_folder(out, name, split)
    given = {"w_image": w_image, "w_text": w_text, "num_inference_steps": steps, "seed": seed}
    if gallery is None and queries is None:
        choices = BenchmarkChoices(template=template)
        prepared, _, _ = _prepare(name, root, split, choices, model, given, cache, skip_missing=skip_missing)
        files = write_model_submission(prepared, name, out)
        print_missing(prepared.settings, "answered by the gallery's first pictures")
    else:
        if gallery is None or queries is None:
            raise InputInvalid("give both --gallery and --queries, or neither for the answers of --model")
        of_models = {"--model": model, "--cache": cache, "--template": template, **given}
        if any(value is not None for value in of_models.values()):
            raise InputInvalid(
                "--gallery and --queries are answers already; leave out --model, --cache, --template and the dials"
            )
        benchmark = submission.load_server_benchmark(name, root, split)
        own = load_embeddings(gallery, queries, find_entry(name).shorten_id)
        own.choose_answered([benchmark], skip_missing=skip_missing)
        every = own.fill(len(benchmark.queries))
        files = submission.write_submission(name, out, benchmark, own.pictures, every, chunk, skip_missing=skip_missing)
    for path in files:
        echo(path)


@app.command("check-submission")
def check_submission(
    name: Server,
    file: Annotated[Path, typer.Argument(help="The file that would be uploaded.")],
    root: Root,
    split: ServerSplit = None,
) -> None:
    """Refuse a broken submission, naming the query and the fault."""
    from compodiff.benchmarks import submission

    what, benchmark = submission.check_submission(name, file, root, split)
    echo(f"{file} is good: {what}, {len(benchmark.queries):,} queries")


@app.command("doctor")
def examine_benchmark(name: Name, root: Root) -> None:
    """Say what is there, what is missing and where to get it; ends with 1 where something is missing."""
    from compodiff.benchmarks.datasets.doctor import examine, list_sources

    findings = list(examine(name, root))
    for finding in findings:
        echo(f"{'ok     ' if finding.is_good else 'missing'}  {finding.what}")
    typer.echo()
    echo("where to get it")
    for line in list_sources(name):
        echo(f"  {line}")
    if not all(finding.is_good for finding in findings):
        raise typer.Exit(1)


def _prepare(
    name: str,
    root: Path,
    split: str | None,
    choices: "BenchmarkChoices",
    model: str | None,
    given: Mapping[str, float | int | None],
    cache: Path | None,
    *,
    dials: "BaselineDials | None" = None,
    skip_missing: bool = False,
) -> tuple["BenchmarkRun", "Params", Path]:
    """Load and embed a benchmark and load its model; also return the params and the folder of the project."""
    from compodiff.benchmarks.baselines import BaselineDials
    from compodiff.benchmarks.datasets.embedding import CACHE
    from compodiff.benchmarks.run import Preparation, prepare_run
    from compodiff.params import load_params

    project = find_project_or_home()
    params = load_params(find_params_file())
    chosen = choose_model(model)
    folders = find_model_parts(chosen)
    places = cache or project / CACHE, chosen.name, folders.composed, folders.encoder
    told = Preparation(name, root, split, choices, skip_missing, *places, given)
    return prepare_run(told, dials or BaselineDials(), params), params, project
