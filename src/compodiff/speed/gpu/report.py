"""All parts of `compodiff bench gpu`: one that fails leaves its line, and the others go on."""

import gc
import platform
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch

from compodiff.errors import InputInvalid, ResourceUnavailable
from compodiff.model.network.denoiser import RELEASED, DenoiserConfig
from compodiff.params import Params
from compodiff.precision import explain_missing_gpu, find_peak, name_device
from compodiff.speed.gpu.timing import Row, measure_product
from compodiff.speed.wide_arrays import PAPER, Widths, write_wide_arrays
from compodiff.storage.scratch import open_scratch

KIND = "figures of a GPU"
LEFT_OUT, FAILED = "left out", "failed"
CARD, COMPILED = "card", "training, compiled"


@dataclass(frozen=True)
class GpuSizes:
    """How large everything is that is measured.

    Attributes:
        widths: of what the training reads.
        triplets: that there are.
        batch_size: rows of a step.
        steps: that are timed.
        sampled: the network that answers queries.
        queries: batches of them.
        encoder: of open_clip's list.
        pictures: in a batch.
        repeats: of what takes no step.
        denoiser: what differs from the params' own network.
    """

    widths: Widths
    triplets: int
    batch_size: int
    steps: int
    sampled: DenoiserConfig
    queries: tuple[int, ...]
    encoder: str
    pictures: int
    repeats: int
    denoiser: dict[str, Any] = field(default_factory=dict)


FULL = GpuSizes(PAPER, 50_000, 2048, 20, RELEASED, (1, 16, 256, 1024), "ViT-L-14", 256, 5)
TINY = GpuSizes(
    Widths(32, 12, 2, 5),
    500,
    16,
    2,
    DenoiserConfig(32, (12,), 32, 2, 2, 2, 16, 2, 64, 1, residual=False),
    (1, 3),
    "ViT-B-32",
    2,
    1,
    {"width": 32, "depth": 2, "heads": 2, "cross_heads": 2, "head_width": 16},
)
Part = Callable[[], Iterable[Row]]


def run(params: Params, sizes: GpuSizes, only: Sequence[str] = (), *, on_cpu: bool = False) -> Iterator[Row]:
    """Measure, and yield each figure when it is there.

    Args:
        params: at the paper's size.
        sizes: of what is measured.
        only: names of parts; none: all.
        on_cpu: try every part on the processor, where no GPU is.

    Yields:
        The figures; a part that could not be measured has one row that says why.

    Raises:
        ResourceUnavailable: there is no GPU that torch can use.
        InputInvalid: there is no such part.
    """
    device = torch.device("cpu") if on_cpu else _require_gpu()
    with open_scratch() as folder:
        parts = _list_parts(folder / "wide", device, params, sizes)
        if unknown := next((name for name in only if name not in parts), None):
            raise InputInvalid(f"--only {unknown} is not one of: {', '.join(parts)}")
        for name, part in parts.items():
            slow = on_cpu and name == COMPILED  # minutes
            if name == CARD or name in only or (not only and not slow):
                yield from _measure(name, part, device)


def to_json(rows: Sequence[Row]) -> dict[str, Any]:
    """Return the table as JSON types."""
    return {"rows": [asdict(row) for row in rows]}


def _require_gpu() -> torch.device:
    if not torch.cuda.is_available():
        fault = explain_missing_gpu() or f"torch {torch.__version__} sees no GPU here"
        raise ResourceUnavailable(f"{fault}; --device cpu tries every part on the processor, at a tiny size")
    torch.cuda.set_device(0)
    return torch.device("cuda", 0)


def _measure(name: str, part: Part, device: torch.device) -> Iterator[Row]:
    """Yield the rows of a part, or as many as there are before it fails and the reason."""
    try:
        yield from part()
    except ModuleNotFoundError as error:
        yield Row(name, LEFT_OUT, f"{error.name} is not installed")
    except Exception as error:  # one part must not cost the others their figures
        place = traceback.extract_tb(error.__traceback__)[-1]
        text = " ".join(str(error).split())[:300]
        yield Row(name, FAILED, f"{type(error).__name__}: {text} ({Path(place.filename).name}:{place.lineno})")
    if device.type == "cuda":
        gc.collect()
        torch.cuda.empty_cache()


def _list_parts(home: Path, device: torch.device, params: Params, sizes: GpuSizes) -> dict[str, Part]:
    peaks: dict[str, float] = {}

    def train(name: str, zero_stage: int | None, *, compiled: bool = False, profiled: bool = False) -> Iterator[Row]:
        from compodiff.speed.gpu.training import TrainingSetup, measure_training, profile_step

        if not home.exists():
            write_wide_arrays(home, sizes.triplets, sizes.widths)
        denoiser = params.denoiser.model_copy(update=sizes.denoiser)
        own = params.composed.model_copy(update={"batch_size": sizes.batch_size})
        setup = TrainingSetup(own, denoiser, sizes.widths, sizes.steps, peaks)
        if profiled:
            return profile_step(name, home, setup)
        return measure_training(name, home, setup, zero_stage=zero_stage, compiled=compiled)

    def answer(name: str) -> Iterator[Row]:
        from compodiff.speed.gpu.sampling import measure_sampling

        return measure_sampling(name, device, sizes.sampled, sizes.queries, sizes.repeats)

    def encode(name: str) -> Iterator[Row]:
        from compodiff.speed.gpu.encoding import measure_encoding

        return measure_encoding(name, device, sizes.encoder, sizes.pictures, sizes.repeats)

    def index(name: str) -> Iterator[Row]:
        from compodiff.speed.gpu.indexing import measure_lists

        return measure_lists(name, sizes.triplets, sizes.widths.embedding_dim)

    parts: dict[str, Callable[[str], Iterator[Row]]] = {
        CARD: lambda name: _describe_card(name, device, peaks),
        "training, ZeRO 0": partial(train, zero_stage=0),
        "sampling": answer,
        "encoding": encode,
        "training, ZeRO 2": partial(train, zero_stage=2),
        "training, no DeepSpeed": partial(train, zero_stage=None),
        "profile": partial(train, zero_stage=None, profiled=True),
        "index": index,
        COMPILED: partial(train, zero_stage=None, compiled=True),
    }
    return {name: partial(part, name) for name, part in parts.items()}


def _describe_card(name: str, device: torch.device, peaks: dict[str, float]) -> Iterator[Row]:
    """Yield what the card is and can do; `peaks` gets its operations a second in bfloat16."""
    yield Row(name, "name", name_device(device))
    yield Row(name, "torch, CUDA, Python", f"{torch.__version__}, {torch.version.cuda}, {platform.python_version()}")
    measured = measure_product(device, torch.bfloat16)
    peaks["measured"] = measured * 1e12
    yield Row(name, "bf16 products, measured", measured, "TFLOP/s")
    if (peak := find_peak(device)) is not None:
        peaks["data sheet"] = peak
        yield Row(name, "bf16 products, data sheet", peak / 1e12, "TFLOP/s")
    if device.type == "cuda":
        yield Row(name, "TF32 products, measured", measure_product(device, torch.float32, tf32=True), "TFLOP/s")
        yield Row(name, "fp32 products, measured", measure_product(device, torch.float32), "TFLOP/s")
