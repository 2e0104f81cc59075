"""What the stages over a set cost at two sizes: their memory must not grow with the rows."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from compodiff.embeddings import embed_set
from compodiff.params import OwnSetParams, Params, SimilarityFloors, TaskShares, TrainingParams
from compodiff.speed.apart import Cost, measure, run_apart
from compodiff.speed.figures import Figure
from compodiff.speed.synthetic import (
    ASKING,
    MANIFEST_FILE,
    PICTURES,
    ROWS_PER_SHARD,
    SET,
    write_encoder,
    write_manifest,
    write_set,
)

_SMALLER = 100  # times, of the two sizes
_MOST_GROWTH = 200  # megabytes
_MOST_SECONDS = 60  # of judging 10^6 rows again
_ROWS_PER_TEXT = 8  # that cleaning compares with each other
BATCH = 2048


@dataclass(frozen=True)
class TimedStages:
    """What is measured and this room may not import.

    Attributes:
        validate, mix: the stages.
        clean: writes a clean copy of a set: its folder, the set's, the encoder's.
        import_manifest: imports a .jsonl file, with the folder of its pictures, to a folder.
        inspect: draws a sheet of the set in a folder, with what validate said of it, to a file.
        params: of a project; sets and tasks are replaced.
    """

    validate: Callable[..., None]
    mix: Callable[..., None]
    clean: Callable[[Path, Path, Path], object]
    import_manifest: Callable[[Path, Path, Path], None]
    inspect: Callable[[Path, Path, Path], None]
    params: Params


Work = Callable[[Path, TimedStages], Callable[[], object]]


def measure_stages(folder: Path, rows: int, stages: TimedStages) -> list[Figure]:
    """Measure each stage over a set of `rows` rows and over one of a hundredth, but of two whole shards at least.

    Pictures and texts of the set repeat: rows are what costs.
    """
    less, more = max(2 * ROWS_PER_SHARD, rows // _SMALLER), rows
    found: dict[tuple[str, int], Cost] = {}
    for size in (less, more):
        home = folder / str(size)
        (home / "benchmarks").mkdir(parents=True)
        run_apart(_write_inputs, home, size)
        for name, work in WORKS.items():
            found[name, size] = run_apart(_measure_alone, work, home, stages)
    return compare_sizes(found, less, more)


def compare_sizes(found: dict[tuple[str, int], Cost], less: int, more: int) -> list[Figure]:
    """List growth and seconds of each stage, from what was found at both sizes."""
    figures = []
    for name in WORKS:
        growth = found[name, more].megabytes - found[name, less].megabytes
        figures.append(Figure(f"{name}, MB more at {more:,} rows than at {less:,}", growth, most=_MOST_GROWTH))
        figures.append(Figure(f"{name}, seconds at {more:,} rows", found[name, more].seconds))
        figures.append(Figure(f"{name}, processor seconds at {more:,} rows", found[name, more].processor_seconds))
    again, per_million = found[AGAIN, more], 1e6 / more
    named = f"for 10^6 rows, from {more:,}"
    figures.append(Figure(f"{AGAIN}, seconds {named}", again.seconds * per_million, most=_MOST_SECONDS))
    worked = again.processor_seconds * per_million
    figures.append(Figure(f"{AGAIN}, processor seconds {named}", worked, most=_MOST_SECONDS))
    return figures


def _measure_alone(work: Work, home: Path, stages: TimedStages) -> Cost:
    os.environ["COMPODIFF_WORKERS"] = "1"  # in this process, so that its memory is seen
    return measure(work, home, stages)


def _write_inputs(home: Path, rows: int) -> None:
    write_encoder(home / "encoder")
    write_set(home / "sets" / SET, rows)
    write_set(home / "sets" / ASKING, rows, rows_per_text=_ROWS_PER_TEXT)
    write_manifest(home / "foreign", rows)


def _import(home: Path, stages: TimedStages) -> Callable[[], object]:
    foreign = home / "foreign"
    return lambda: stages.import_manifest(foreign / MANIFEST_FILE, foreign / PICTURES, home / "imported")


def _clean(home: Path, stages: TimedStages) -> Callable[[], object]:
    return lambda: stages.clean(home / "clean", home / "sets" / ASKING, home / "encoder")


def _embed(home: Path, stages: TimedStages) -> Callable[[], object]:
    embeddings = home / "embeddings" / SET
    return lambda: embed_set(embeddings, home / "sets" / SET, home / "encoder", stages.params.embedding)


def _validate(home: Path, stages: TimedStages, floor: float = -1.0) -> Callable[[], object]:
    floors = dict.fromkeys(SimilarityFloors.model_fields, -1.0) | {"image_image": floor}
    own = OwnSetParams.model_validate({"recipe": "own", "reads": "set.json", "min_rows": 1, "floors": floors})
    validation = stages.params.validation.model_copy(update={"max_rejected_fraction": 0.9})
    return lambda: stages.validate(
        params=own,
        validation=validation,
        folder=home / "sets" / SET,
        embeddings=home / "embeddings" / SET,
        benchmarks=home / "benchmarks",
        validated=home / "validation" / SET,
    )


def _judge_again(home: Path, stages: TimedStages) -> Callable[[], object]:
    return _validate(home, stages, floor=-0.9)


def _mix(home: Path, stages: TimedStages) -> Callable[[], object]:
    return lambda: stages.mix(
        params=describe_training(stages.params.composed, SET),
        embeddings=home / "embeddings",
        validated=home / "validation",
        benchmarks=home / "benchmarks",
        benchmark_embeddings=home / "benchmarks",
        encoder=home / "encoder",
        folder=home / "mixture",
    )


def _inspect(home: Path, stages: TimedStages) -> Callable[[], object]:
    return lambda: stages.inspect(home / "sets" / SET, home / "validation" / SET, home / "sheet.html")


def describe_training(composed: TrainingParams, name: str) -> TrainingParams:
    """Return the params of stage 2 over one set, at the batch size that is measured."""
    tasks = TaskShares(text_to_image={name: 0.3}, masked={name: 0.3}, triplet={name: 0.4})
    curve = composed.curve.model_copy(update={"set": name, "benchmark": None})
    return composed.model_copy(update={"tasks": tasks, "curve": curve, "batch_size": BATCH, "accumulation_steps": 1})


AGAIN = "judge again at another floor"
WORKS: dict[str, Work] = {
    "import": _import,
    "clean": _clean,
    "embed": _embed,
    "validate": _validate,
    AGAIN: _judge_again,
    "mix": _mix,
    "inspect": _inspect,
}
