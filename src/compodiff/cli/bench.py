"""`compodiff bench`: what the denoiser, synthesis and the data cost on this machine, and what the server bears."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from compodiff.cli.options import Model
from compodiff.cli.output import echo
from compodiff.errors import InputInvalid

Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
Repeats = Annotated[int, typer.Option(min=1, help="Rounds; the median counts.")]


app = typer.Typer(
    name="bench",
    help="Measure the denoiser, synthesis, the data plane, an index at size, exact search, or the server.",
    no_args_is_help=True,
)


@app.command("denoiser")
def time_denoiser(
    as_json: Json = False,
    repeats: Repeats = 3,
    headline: Annotated[bool, typer.Option("--headline", help="Three cases instead of the whole grid.")] = False,
) -> None:
    """Time sampling: batch 1, 16; 1, 4 draws; 5/10/25 steps; in the precisions fast here, against a plain peer."""
    from compodiff.speed import denoiser as bench

    _show(bench.run(bench.HEADLINE if headline else bench.GRID, repeats), as_json)


@app.command("training")
def time_training(as_json: Json = False, repeats: Repeats = 3) -> None:
    """Time a training step in the fastest precision: batch 64, 256; 1, 4 noise draws; against a plain one."""
    from compodiff.speed import training as bench

    _show(bench.run(bench.BATCHES, repeats), as_json)


@app.command("serve")
def serve(
    clients: Annotated[int, typer.Option(min=1, help="Connections that ask at once.")] = 200,
    seconds: Annotated[float, typer.Option(min=1, help="Of the load; a quarter of it before, one at a time.")] = 120,
    model: Annotated[str | None, typer.Option(help="As of `compodiff serve`.", show_default=False)] = None,
    index: Annotated[Path | None, typer.Option(help="As of `compodiff serve`.")] = None,
) -> None:
    """Start a server on loopback and load it with mixed and partly broken requests; prints JSON."""
    from compodiff.speed import serving

    arguments = [*(["--model", model] if model else []), *(["--index", str(index)] if index else [])]
    typer.echo(json.dumps(serving.run(Path.cwd(), arguments, clients=clients, seconds=seconds), indent=2))


@app.command("synthesis")
def time_synthesis(
    *,
    as_json: Json = False,
    gpus: Annotated[list[int] | None, typer.Option(min=1, help="Predict for so many; repeat it. [1, 8, 64]")] = None,
    pairs: Annotated[int, typer.Option(min=32, help="Candidates made here to measure.")] = 512,
    seconds_per_picture: Annotated[
        float | None, typer.Option(min=0, help="Of your GPU. Default: an estimate for an A100.", show_default=False)
    ] = None,
    triplets: Annotated[int, typer.Option(min=1, help="How many are wanted.")] = 18_800_000,
    keep_rate: Annotated[float, typer.Option(min=0.001, help="Triplets that come of a caption pair.")] = 0.31,
    candidates: Annotated[
        int | None,
        typer.Option(min=1, help="Drawn for a pair. Default: of params.yaml, or 1.", show_default=False),
    ] = None,
    steps: Annotated[
        int | None, typer.Option(min=1, help="Of a drawing. Default: of params.yaml, or 50.", show_default=False)
    ] = None,
    price: Annotated[float, typer.Option(min=0, help="Of a GPU hour.")] = 2.0,
) -> None:
    """Time each step of synthesis here, and predict wall time and cost of a dataset on 1, 8 and 64 GPUs."""
    from compodiff.params import DrawnParams, load_params
    from compodiff.project import find_project_root
    from compodiff.speed import synthesis as bench
    from compodiff.speed.scale import PlannedSynthesis

    root = find_project_root()
    params = load_params(root / "params.yaml")
    measured = bench.measure(root / "data", root / "artifacts" / "encoder", params.embedding, pairs)
    drawing = next((own.diffusion for own in params.sets.values() if isinstance(own, DrawnParams)), None)
    steps = steps or (drawing.steps if drawing else 50)
    candidates = candidates or (drawing.candidates if drawing else 1)
    per_picture = (
        bench.estimate_seconds_per_picture(steps=steps) if seconds_per_picture is None else seconds_per_picture
    )
    kept = min(candidates, drawing.kept if drawing else 1)
    wanted = PlannedSynthesis(triplets, keep_rate, params.synthesis.rows_per_shard, candidates, kept, price=price)
    _show(bench.run(measured, per_picture, wanted, gpus or [1, 8, 64]), as_json)


@app.command("data")
def time_data(
    *,
    as_json: Json = False,
    rows: Annotated[int, typer.Option(min=4096, help="Rows of the set that stages run over.")] = 10_000,
    triplets: Annotated[
        int | None, typer.Option(min=4096, help="Of the training; a kilobyte each. Default: as many.")
    ] = None,
    shards: Annotated[int, typer.Option(min=1, help="Of the set that dvc status looks at.")] = 1000,
    only: Annotated[
        list[str] | None, typer.Option(help="stages, workers, training or status; repeat it. Default: all.")
    ] = None,
) -> None:
    """Measure what the data plane costs, each figure beside its limit; sets are made in the working folder."""
    from compodiff.cleaning.clean import clean_within
    from compodiff.params import load_params
    from compodiff.project import find_project_root
    from compodiff.speed import data as bench
    from compodiff.speed.stage_costs import TimedStages
    from compodiff.stages.mix import mix
    from compodiff.stages.validate import validate

    if unknown := next((name for name in only or () if name not in bench.MEASURES), None):
        raise InputInvalid(f"--only {unknown} is not one of: {', '.join(bench.MEASURES)}")
    params = load_params(find_project_root() / "params.yaml")
    stages = TimedStages(validate, mix, clean_within, _import_manifest, _draw_sheet, params)
    _show(bench.run(bench.Sizes(rows, triplets or rows, shards), stages, only or ()), as_json)


@app.command("index")
def time_index(
    *,
    as_json: Json = False,
    rows: Annotated[int, typer.Option(min=1000, help="Vectors, which are made for it.")] = 1_000_000,
    width: Annotated[int, typer.Option(min=8, help="Of a vector.")] = 256,
    kind: Annotated[str, typer.Option(help="As of `compodiff index from-embeddings`.")] = "ivf_rabitq",
    folder: Annotated[Path, typer.Option(help="Where vectors and index are written; they stay there.")] = Path("bench"),
) -> None:
    """Build, open, search and grow an index at size, each figure beside its limit."""
    from compodiff.speed import indexing as bench

    _show(bench.run(folder, bench.IndexSizes(rows, width), kind), as_json)


@app.command("exact")
def time_exact_search(
    *,
    as_json: Json = False,
    repeats: Repeats = 3,
    rows: Annotated[int, typer.Option(min=1000, help="Vectors, which are made for it and held in memory.")] = 200_000,
    width: Annotated[int, typer.Option(min=8, help="Of a vector.")] = 768,
    queries: Annotated[int, typer.Option(min=1, help="Asked at once.")] = 512,
) -> None:
    """Search exactly for the 10 nearest, by bfloat16 and float32, and by FAISS's flat index in turns."""
    from compodiff.speed import exact_search as bench

    _show(bench.run(rows, width, queries, repeats), as_json)


@app.command("gpu")
def time_gpu(
    *,
    as_json: Json = False,
    to: Annotated[Path | None, typer.Option(help="Write the figures as JSON, too.", show_default=False)] = None,
    only: Annotated[list[str] | None, typer.Option(help="A part of the table; repeat it. Default: all.")] = None,
    device: Annotated[str, typer.Option(help="cpu tries every part at a tiny size, without a GPU.")] = "cuda",
) -> None:
    """Measure training at the paper's size, sampling, encoding and indexing on the first GPU."""
    from importlib.resources import files

    from compodiff.errors import ResourceUnavailable
    from compodiff.params import Params, compose_params
    from compodiff.speed.gpu import report
    from compodiff.storage.atomic import write_json
    from compodiff.storage.ownership import require_replaceable_file

    require_replaceable_file(to, report.KIND)
    if device not in ("cuda", "cpu"):
        raise InputInvalid(f"--device {device} is neither cuda nor cpu")
    params = Params.model_validate(compose_params(Path(str(files("compodiff") / "defaults")), "paper"))
    sizes = report.TINY if device == "cpu" else report.FULL
    rows = []
    for row in report.run(params, sizes, only or (), on_cpu=device == "cpu"):
        rows.append(row)
        if not as_json:
            value = f"{row.value:,.4g}" if isinstance(row.value, float) else row.value
            echo(f"{row.part:<24}{row.what:<60}{value:>14} {row.unit}")
        if to is not None:  # each time: who ends this early keeps what there is
            write_json(to, report.to_json(rows), report.KIND)
    if as_json:
        typer.echo(json.dumps(report.to_json(rows), indent=2))
    if failed := sorted({row.part for row in rows if row.what == report.FAILED}):
        raise ResourceUnavailable(f"not measured: {', '.join(failed)}; the table says why")


@app.command("scale")
def plan_scale(
    *,
    figures: Annotated[Path, typer.Argument(help="What `compodiff bench index --json` printed.")],
    pairs: Annotated[
        Path | None,
        typer.Option(help="What `compodiff bench data --only stages --json` printed: pairs too.", show_default=False),
    ] = None,
    model: Model = None,
    as_json: Json = False,
    gpu_pictures: Annotated[float, typer.Option(min=1, help="Pictures a second that a GPU encodes.")] = 1000.0,
    gpu_rows: Annotated[float, typer.Option(min=1, help="Rows a second that a GPU trains on.")] = 2000.0,
    core_hour: Annotated[float, typer.Option(min=0, help="Price.")] = 0.05,
    gpu_hour: Annotated[float, typer.Option(min=0, help="Price.")] = 2.0,
    gigabyte_month: Annotated[float, typer.Option(min=0, help="Price.")] = 0.1,
) -> None:
    """Say what 10^5, 10^7 and 10^9 pictures, and pairs, take, and what of it is measured, computed or assumed."""
    from compodiff.encoders import load_encoder
    from compodiff.search.locate import choose_model, find_model_parts
    from compodiff.speed import pair_plans, plans
    from compodiff.storage.json_files import read_json

    picture = plans.measure_picture(load_encoder(find_model_parts(choose_model(model)).encoder).prepare_for_many())
    try:
        rates = plans.MeasuredRates.of(read_json(figures), picture)
    except (KeyError, TypeError, ValueError) as error:
        raise InputInvalid(f"{figures} is not what `compodiff bench index --json` prints") from error
    prices = plans.Prices(gpu_pictures, core_hour, gpu_hour, gigabyte_month)
    rows = plans.plan(rates, prices)
    if pairs is not None:
        try:
            of_pairs = pair_plans.PairRates.of(read_json(pairs))
        except (KeyError, TypeError, ValueError) as error:
            said = "is not what `compodiff bench data --only stages --json` prints"
            raise InputInvalid(f"{pairs} {said}") from error
        rows += pair_plans.plan_pairs(of_pairs, prices, rates.width, gpu_rows)
    _show({"vectors": f"{rates.rows:,} x {rates.width}", "rows": rows}, as_json)


def _import_manifest(manifest: Path, pictures: Path, to: Path) -> None:
    from compodiff.interchange.formats import Source, import_source

    source = Source(manifest, "manifest", pictures=pictures)
    import_source(source, to, seed=17, skip_faulty=False, licence="none", origin="noise")


def _draw_sheet(dataset: Path, validated: Path, html: Path) -> None:
    from compodiff.inspection.drawing import draw_rows
    from compodiff.inspection.sheet import write_sheet

    drawn, _ = draw_rows(dataset, validated, 1000, 17)
    write_sheet(dataset, drawn, html)


def _show(result: dict[str, Any], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(result, indent=2))
        return
    for name, value in result.items():
        if name != "rows":
            echo(f"{name}: {json.dumps(value)}")
    for row in result["rows"]:
        echo("  ".join(f"{name} {value if isinstance(value, str) else f'{value:.4g}'}" for name, value in row.items()))
