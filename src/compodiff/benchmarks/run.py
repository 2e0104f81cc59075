"""Run a benchmark: models and baselines answer its queries, and their answers are scored side by side.

`compodiff benchmark run` and the stage evaluate both call `run_benchmark`. What differs is an argument: where the
embeddings come from, which models answer, and how the baselines' dials are chosen.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from compodiff.benchmarks.answers import QueryArrays, RetrievalModel, read_gallery_vectors
from compodiff.benchmarks.baselines import CHOSEN_BY, BaselineDials, choose_dials, make_baselines
from compodiff.benchmarks.datasets.benchmark import Benchmark, BenchmarkQuery
from compodiff.benchmarks.datasets.embedding import embed_benchmark, find_present
from compodiff.benchmarks.datasets.loading import BenchmarkChoices, load_benchmark
from compodiff.benchmarks.edited_regions import RegionEncoder
from compodiff.benchmarks.report.comparison import COMPOSED, Comparison, compare_rows
from compodiff.benchmarks.scoring.ranking import Floats
from compodiff.benchmarks.scoring.scorer import Scorer
from compodiff.embeddings import MASK_SIZE, Embeddings, blank_masked
from compodiff.embeddings.drawn_masks import compute_cells
from compodiff.encoders import Encoder, load_encoder
from compodiff.encoders.edit_maps import EditMaps
from compodiff.images import read_picture
from compodiff.model.checkpoint import WEIGHTS
from compodiff.model.dials import read_dials
from compodiff.params import EvaluationParams, Params, SamplingParams
from compodiff.storage.digests import digest_file


@dataclass(frozen=True)
class EmbeddingSource:
    """Where the embeddings of a benchmark come from.

    Attributes:
        embeddings: of all pictures and texts that the benchmark names.
        mask: returns, for a query that masks a region of its reference, the masked cells (64, 64) bool and the
            embedding (D,) of the reference with that region blanked.
    """

    embeddings: Embeddings
    mask: Callable[[Benchmark, BenchmarkQuery], tuple[Tensor, Floats]]


@dataclass(frozen=True)
class BenchmarkRun:
    """What is run, and how.

    Attributes:
        parts: of one benchmark.
        source: of the embeddings.
        models: row name -> model; `composed` is among them.
        baselines: the dials, or the validation queries on which the best are chosen.
        evaluation: how answers are scored.
        settings: what the record gets beside the benchmark's own settings and the dials.
        skip_missing: score without pictures that have no embedding, and count them.
        regions: embeds what lies outside and inside of an edit; None: it is not looked at.
        whole: the parts with the queries whose reference is missing.
    """

    parts: Sequence[Benchmark]
    source: EmbeddingSource
    models: Mapping[str, RetrievalModel]
    baselines: BaselineDials | Benchmark
    evaluation: EvaluationParams
    settings: Mapping[str, Any]
    skip_missing: bool = False
    regions: RegionEncoder | None = None
    whole: Sequence[Benchmark] = ()


def run_benchmark(run: BenchmarkRun) -> Comparison:
    """Answer the queries by the baselines and by each model, and score the answers alike.

    Raises:
        InputInvalid: a picture, a text or a mask has no embedding.
    """
    vectors = read_gallery_vectors(run.source.embeddings)
    scorer = Scorer(chunk=run.evaluation.chunk, skip_missing=run.skip_missing)
    asked = [ask_queries(part, run.source) for part in run.parts]
    dials, chosen = BaselineDials(), dict[str, str]()
    encoder = run.source.embeddings.encoder
    if encoder.joint is None:
        why = encoder.explain_no_joint_text()
        tqdm.write(f"the baselines text_only, sum and product are left out: {why}", file=sys.stderr)
    elif isinstance(run.baselines, BaselineDials):
        dials = run.baselines
    else:
        validation = ask_queries(run.baselines, run.source)
        dials = choose_dials(run.baselines, validation, vectors, scorer, run.evaluation)
        chosen = {"chosen_by": f"{', then '.join(CHOSEN_BY)}, on {run.baselines.split}"}
    of_parts = [
        make_baselines(one, dials)
        | {row: model.answer(one, f"{row}, {part.label}") for row, model in run.models.items()}
        for one, part in zip(asked, run.parts, strict=True)
    ]
    rows = {row: [similarities[row] for similarities in of_parts] for row in of_parts[0]}
    comparison = compare_rows(run.parts, vectors, rows, scorer, run.evaluation)
    if run.regions:
        comparison = comparison.measure_edits(vectors, run.regions, run.evaluation)
    return comparison.add_to_record(**run.settings, baselines=asdict(dials) | chosen)


def ask_queries(part: Benchmark, source: EmbeddingSource) -> QueryArrays:
    """Return the queries of `part` in arrays; a masked reference is embedded with the masked region blanked."""
    asked = QueryArrays.of(part, source.embeddings)
    masked = [place for place, query in enumerate(part.queries) if query.mask]
    if not masked:
        return asked
    masks = torch.zeros(len(part.queries), MASK_SIZE, MASK_SIZE, dtype=torch.bool)
    references = asked.references.copy()
    for place in masked:
        masks[place], references[place] = source.mask(part, part.queries[place])
    return asked.mask_references(references, masks)


@dataclass(frozen=True)
class Preparation:
    """What `benchmark run` is told.

    Attributes:
        name, root, split, choices: of the benchmark; masks are named from its root.
        skip_missing: leave out pictures that are not there, and count them.
        cache: folder that keeps embeddings for the next run.
        model: its name, for the record.
        composed, encoder: its folders.
        sampling: dials in place of the model's own, where not None.
    """

    name: str
    root: Path
    split: str | None
    choices: BenchmarkChoices
    skip_missing: bool
    cache: Path
    model: str
    composed: Path
    encoder: Path
    sampling: Mapping[str, float | int | None]


def prepare_run(it: Preparation, dials: BaselineDials, params: Params) -> BenchmarkRun:
    """Load a benchmark, embed it unless an earlier run did, and load the model that answers it.

    Raises:
        InputInvalid: the benchmark is not whole, a picture does not decode, or a dial of the model is out of its range.
        CheckpointMismatch, EncoderMismatch: the model's folder is damaged, or it works with another encoder.
    """
    whole = load_benchmark(it.name, it.root, it.split, it.choices)
    there = find_present(whole, skip_missing=it.skip_missing)
    encoder = load_encoder(it.encoder).prepare_for_many()
    embeddings = embed_benchmark(there, encoder, it.cache, params.embedding)
    answering = _load_answering(it, embeddings, params.sampling, encoder.edits)
    settings = {
        "missing_pictures": len(there.missing),
        "missing_picture_names": list(there.missing[:20]),
        "queries_without_reference": there.left_out,
        **({"parts_left_out": list(there.parts_left_out)} if there.parts_left_out else {}),
        "encoder": encoder.manifest.to_json(),
        "weights_digest": digest_weights(it.composed),
        "sampling": answering.sampling.model_dump(),
        "model": it.model,
    }
    models, source = {COMPOSED: answering}, EmbeddingSource(embeddings, make_masks(it.root, encoder))
    # What may be missing was decided when the pictures were looked for.
    regions = RegionEncoder(it.root, lambda: encoder)
    return BenchmarkRun(there.parts, source, models, dials, params.evaluation, settings, True, regions, whole)


def make_masks(root: Path, encoder: Encoder) -> Callable[[Benchmark, BenchmarkQuery], tuple[Tensor, Floats]]:
    """Return what gives a masked query its cells (64, 64) and the embedding (D,) of its masked reference.

    Args:
        root: the folder that masks are named from.
        encoder: embeds the masked reference.
    """

    def read_mask(part: Benchmark, query: BenchmarkQuery) -> tuple[Tensor, Floats]:
        picture = part.pictures.read(query.reference)
        cells = compute_cells(read_picture(root / query.mask), picture, encoder)
        pixels = blank_masked(encoder.preprocess(picture)[None], cells[None])
        return cells, encoder.encode_pixels(pixels)[0].cpu().numpy()

    return read_mask


def _load_answering(
    it: Preparation, embeddings: Embeddings, default: SamplingParams, edits: EditMaps | None
) -> RetrievalModel:
    """Sample the model as its card says (a converted one as params.yaml says) but for the dials that were given."""
    answering = RetrievalModel.load(it.composed, default, embeddings, edits=edits)
    sampling = read_dials(it.composed, answering.card) or default
    given = {dial: value for dial, value in it.sampling.items() if value is not None}
    return answering.sample_with(SamplingParams.model_validate(sampling.model_dump() | given))


def digest_weights(model: Path) -> str:
    """Return the sha256 of a model folder's weights."""
    return digest_file(model / WEIGHTS)
