"""What each step of synthesis costs on this machine, by running the real ones; `scale` extrapolates from it."""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from compodiff.catalogue.pictures import Catalogue
from compodiff.encoders import load_encoder
from compodiff.errors import InputInvalid
from compodiff.pairs.pair import CatalogueGenerator
from compodiff.params import SynthesisParams
from compodiff.speed.scale import PlannedSynthesis, SynthesisCosts, describe_scale, predict
from compodiff.speed.timing import describe_machine, use_one_thread
from compodiff.triplets.emoji import make_caption_pairs
from compodiff.triplets.making import ShardPlan, TripletMaker

Value = TypeVar("Value")
WARM = 16  # pairs that load weights and code before the clock runs
# SD 1.5's UNet at 512 x 512, counted by torch's FlopCounterMode over its configuration: one call of one branch.
UNET_TFLOP = 0.803
ASSUMED = {
    "seconds_per_picture": "steps x 2 branches x 0.803 TFLOP (SD 1.5's UNet at 512 x 512, counted) at 40 % of an "
    "A100's 312 TFLOP/s, VAE and text encoder left out; an assumption, measure yours",
    "keep_rate": "18.8 million triplets of 60 million caption pairs (arXiv 2303.11916), however many are drawn of one",
    "candidates": "of the params, for every caption pair; the paper says up to 100, and not how many on average",
    "gpu_start_kills_price": "assumptions: 120 s to load weights, a kill a day and GPU, 2 a GPU hour; set your own",
    "embed_and_keep": "measured here on one core with artifacts/encoder; another encoder or a GPU embeds otherwise",
}


def estimate_seconds_per_picture(tflops: float = 312.0, utilisation: float = 0.4, steps: int = 50) -> float:
    """Estimate what a picture of Stable Diffusion 1.5 costs on a GPU of `tflops` (bf16, dense), with guidance."""
    return steps * 2 * UNET_TFLOP / (tflops * utilisation)


@use_one_thread()
def measure(data: Path, encoder: Path, params: SynthesisParams, pairs: int) -> SynthesisCosts:
    """Make `pairs` candidates of the catalogue and time each step, on one core.

    Raises:
        InputInvalid: the catalogue has fewer pairs than to load code with.
    """
    catalogue = Catalogue.load(data)
    captions, every = _time_work(lambda: make_caption_pairs(catalogue, params))
    if len(every) <= WARM:
        raise InputInvalid(f"{data} gives {len(every)} caption pairs; more than {WARM} are needed")
    chosen = tuple(every[WARM : WARM + pairs])
    generator = CatalogueGenerator(data)
    looking, drawn = _time_work(lambda: list(generator.generate(chosen)))
    distinct = {pair.captions.reference: pair.reference for pair in drawn}
    distinct |= {pair.captions.target: pair.target for pair in drawn}
    network = load_encoder(encoder).prepare_for_many()
    network.encode_images(list(distinct.values())[:WARM], params.batch_size)
    embedding, _ = _time_work(lambda: network.encode_images(list(distinct.values()), params.batch_size))
    maker = TripletMaker(lambda: CatalogueGenerator(data), encoder, params.floors, params.batch_size)
    with tempfile.TemporaryDirectory(prefix="compodiff-bench-") as folder:
        maker(ShardPlan(Path(folder) / "warm.tar", tuple(every[:WARM])))
        whole, _ = _time_work(lambda: maker(ShardPlan(Path(folder) / "train-00000.tar", chosen)))
    return SynthesisCosts(
        caption=captions / len(every),
        picture=looking / (2 * len(chosen)),
        embed=embedding / len(distinct),
        keep=max(0.0, whole - looking - embedding) / len(chosen),
    )


def run(measured: SynthesisCosts, per_picture: float, undertaking: PlannedSynthesis, gpus: list[int]) -> dict[str, Any]:
    """Predict from what was measured, with pictures drawn by a GPU in `per_picture` seconds each."""
    costs = SynthesisCosts(measured.caption, per_picture, measured.embed, measured.keep)
    return {
        "machine": describe_machine(),
        "measured_here": describe_scale(measured, PlannedSynthesis())["seconds"],
        "assumed": ASSUMED,
        "predicted_from": describe_scale(costs, undertaking),
        "rows": predict(costs, undertaking, gpus),
    }


def _time_work(work: Callable[[], Value]) -> tuple[float, Value]:
    began = time.perf_counter()
    value = work()
    return time.perf_counter() - began, value
