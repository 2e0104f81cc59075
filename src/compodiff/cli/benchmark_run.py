"""`compodiff benchmark run NAME`: a model of this project on a benchmark, with the baselines beside it."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from compodiff.cli.benchmark import Category, Name, Root, SkipMissing, Split, Variant
from compodiff.cli.output import echo, print_table
from compodiff.project import project_root
from compodiff.search.locate import CHAMPION, model_parts

if TYPE_CHECKING:
    from compodiff.benchmarks.answers import Answering, Asked
    from compodiff.benchmarks.baselines import Dials
    from compodiff.benchmarks.datasets.benchmark import Benchmark
    from compodiff.benchmarks.embedding import Present
    from compodiff.benchmarks.report.comparison import Comparison
    from compodiff.embeddings import Embeddings
    from compodiff.encoders import Encoder
    from compodiff.params import EvaluationParams, Params

RESULT = "benchmark result"
CACHE = Path("artifacts", "benchmark_embeddings")


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
    cache: Annotated[Path | None, typer.Option(help=f"Where embeddings are kept. Default: {CACHE}.")] = None,
    track: Annotated[bool, typer.Option("--track/--no-track", help="Record the result in MLflow.")] = True,
) -> None:
    """Embed (once), retrieve and score; all that the score depends on stands in the result."""
    from compodiff.benchmarks.baselines import Dials
    from compodiff.benchmarks.datasets.loading import Choices, load_benchmark
    from compodiff.benchmarks.embedding import embed_benchmark, present
    from compodiff.encoders import load_encoder
    from compodiff.params import load_params
    from compodiff.storage.ownership import PAGE, require_replaceable_file

    require_replaceable_file(json_out, RESULT)
    require_replaceable_file(html, PAGE)
    params = load_params(project_root() / "params.yaml")
    chosen = Choices(category, gallery_variant, template, caption_order)
    there = present(load_benchmark(name, root, split, chosen), skip_missing=skip_missing)
    folders = model_parts(model)
    encoder = load_encoder(folders.encoder).for_many()
    embeddings = embed_benchmark(there, encoder, cache or project_root() / CACHE, params.embedding)
    given = {"w_image": w_image, "w_text": w_text, "num_inference_steps": steps, "seed": seed}
    answering = _answering(folders.composed, embeddings, params, given)
    asked = [_asked(part, embeddings, encoder, root) for part in there.parts]
    settings = _settings(there, answering, folders.composed, encoder) | {"model": model}
    dials = Dials(sum_weight, product_offset)
    comparison = _compare(there, asked, answering, params.evaluation, settings, dials)
    _print(f"{name} {there.parts[0].split}", comparison)
    written = _write(comparison, embeddings, params.evaluation, json_out, html)
    if track:
        _track(f"benchmark_{name}", comparison, written)


def _answering(
    folder: Path, embeddings: "Embeddings", params: "Params", dials: Mapping[str, float | int | None]
) -> "Answering":
    """The model, sampled as its card says (a converted one as params.yaml says) but for the dials that were given."""
    from compodiff.benchmarks.answers import Answering
    from compodiff.params import SamplingParams

    answering = Answering.load(folder, params.sampling, embeddings)
    own = answering.card.trained_with.get("sampling")
    sampling = params.sampling if own is None else SamplingParams.model_validate(own)
    given = {dial: value for dial, value in dials.items() if value is not None}
    return answering.sampled(SamplingParams.model_validate(sampling.model_dump() | given))


def _asked(part: "Benchmark", embeddings: "Embeddings", encoder: "Encoder", root: Path) -> "Asked":
    """The queries in arrays; a masked reference is encoded with the masked region blanked."""
    import torch

    from compodiff.benchmarks.answers import Asked
    from compodiff.embeddings import MASK_SIZE, blanked
    from compodiff.images import read_picture
    from compodiff.search.masks import mask_cells

    asked = Asked.of(part, embeddings)
    masked = [place for place, query in enumerate(part.queries) if query.mask]
    if not masked:
        return asked
    masks = torch.zeros(len(part.queries), MASK_SIZE, MASK_SIZE, dtype=torch.bool)
    references = asked.references.copy()
    for place in masked:
        query = part.queries[place]
        picture = part.pictures.read(query.reference)
        masks[place] = mask_cells(read_picture(root / query.mask), picture, encoder)
        pixels = blanked(encoder.preprocess(picture)[None], masks[place][None])
        references[place] = encoder.encode_pixels(pixels)[0].cpu().numpy()
    return asked.masked(references, masks)


def _settings(there: "Present", answering: "Answering", composed: Path, encoder: "Encoder") -> dict[str, Any]:
    """What the record gets beside the benchmark's own settings."""
    with (composed / "model.safetensors").open("rb") as weights:
        digest = hashlib.file_digest(weights, "sha256").hexdigest()
    return {
        "missing_pictures": len(there.missing),
        "missing_picture_names": list(there.missing[:20]),
        "queries_without_reference": there.left_out,
        "encoder": encoder.manifest.to_json(),
        "weights_digest": digest,
        "sampling": answering.sampling.model_dump(),
    }


def _compare(
    there: "Present",
    asked: list["Asked"],
    answering: "Answering",
    evaluation: "EvaluationParams",
    settings: dict[str, Any],
    dials: "Dials",
) -> "Comparison":
    from compodiff.benchmarks.answers import gallery_vectors
    from compodiff.benchmarks.baselines import baselines
    from compodiff.benchmarks.report.comparison import COMPOSED, Comparing
    from compodiff.benchmarks.scoring.scorer import Scorer

    of_parts = [
        baselines(one, dials) | {COMPOSED: answering.answer(one, f"composing {part.label}")}
        for one, part in zip(asked, there.parts, strict=True)
    ]
    rows = {row: [similarities[row] for similarities in of_parts] for row in of_parts[0]}
    # What may be missing was decided when the pictures were looked for.
    comparing = Comparing.of(Scorer(chunk=evaluation.chunk, skip_missing=True), evaluation)
    vectors = gallery_vectors(asked[0].embeddings)
    return comparing.compare(there.parts, vectors, rows, settings | {"baselines": dials.record()})


def _write(
    comparison: "Comparison",
    embeddings: "Embeddings",
    evaluation: "EvaluationParams",
    json_out: Path | None,
    html: Path | None,
) -> list[Path]:
    """Write what was asked for; return the files."""
    from compodiff.benchmarks.answers import gallery_vectors
    from compodiff.benchmarks.report.comparison import COMPOSED, Page
    from compodiff.benchmarks.report.showcase import Showcase
    from compodiff.storage.atomic import write_json

    if json_out is not None:
        write_json(json_out, comparison.result(), RESULT)
    if html is not None:
        metrics = list(comparison.summaries[COMPOSED]["metrics"])
        title = f"{comparison.record['benchmark']} {comparison.record['split']}"
        Page(title, metrics, Showcase.of(evaluation)).write_file(html, comparison, gallery_vectors(embeddings))
    return [path for path in (json_out, html) if path is not None]


def _track(run_name: str, comparison: "Comparison", files: list[Path]) -> None:
    """One MLflow run: the record as params, every row's metrics, and the files that were written."""
    from compodiff.tracking.runs import training_run

    with training_run(run_name, dict(comparison.record), project_root() / "params.yaml") as tracked:
        for row, summary in comparison.summaries.items():
            tracked.log_metrics(0, {f"{row}/{metric}": value for metric, value in summary["metrics"].items()})
        for path in files:
            tracked.log_artifact(path)


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
