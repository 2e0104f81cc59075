"""What each step of making a set costs on this machine, by running the real ones; `scale` extrapolates from it."""

import shutil
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from compodiff.catalogue.pictures import Catalogue
from compodiff.embeddings import SetEmbeddings, embed_set
from compodiff.embeddings.set_pass import SetEmbedder, ShardTask
from compodiff.errors import InputInvalid
from compodiff.pairs.pair import CaptionPair
from compodiff.params import EmbeddingParams, ScenesParams
from compodiff.recipes.made import ShardMaker, ShardPlan
from compodiff.scenes.generator import SpriteGenerator, make_sprite_pairs
from compodiff.sets import TRIPLETS, finish_set, open_set
from compodiff.speed.scale import PlannedSynthesis, SynthesisCosts, describe_scale, predict
from compodiff.speed.timing import describe_machine, use_one_thread
from compodiff.storage.scratch import open_scratch
from compodiff.validation import HeldOut, Judged
from compodiff.validation.rows import frame_rows

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
    "embed_and_keep": "measured here on one core with artifacts/encoder, masks and texts included; another encoder, or "
    "a GPU, embeds otherwise",
}


def estimate_seconds_per_picture(tflops: float = 312.0, utilisation: float = 0.4, steps: int = 50) -> float:
    """Estimate what a picture of Stable Diffusion 1.5 costs on a GPU of `tflops` (bf16, dense), with guidance."""
    return steps * 2 * UNET_TFLOP / (tflops * utilisation)


def measure(data: Path, encoder: Path, params: EmbeddingParams, pairs: int) -> SynthesisCosts:
    """Draw `pairs` scenes of the catalogue and time each step, on one core.

    Raises:
        InputInvalid: the catalogue has fewer pairs than to load code with.
    """
    with use_one_thread(), open_scratch() as folder:
        return _measure_costs(data, encoder, params, pairs, folder)


def _measure_costs(data: Path, encoder: Path, params: EmbeddingParams, pairs: int, folder: Path) -> SynthesisCosts:
    scenes = _describe_scenes(pairs)
    captions, every = _time_work(lambda: list(islice(make_sprite_pairs(Catalogue.load(data), scenes), WARM + pairs)))
    if len(every) <= WARM:
        raise InputInvalid(f"{data} gives {len(every)} caption pairs; more than {WARM} are needed")
    warm, chosen = tuple(every[:WARM]), tuple(every[WARM:])
    generator = SpriteGenerator(data, scenes)
    list(generator.generate(warm))
    drawing, _ = _time_work(lambda: list(generator.generate(chosen)))
    maker = ShardMaker(lambda: generator)
    for number, own in enumerate((warm, chosen)):
        making, _ = _time_work(lambda own=own, number=number: maker(ShardPlan(folder / "set", "train", number, own)))  # type: ignore[misc]
    finish_set(folder / "set", TRIPLETS, licence="", source="timing")
    # A copy: its neighbour remembers no picture from another run.
    shutil.copytree(encoder, folder / "encoder")
    embedding, judging = _time_pass(folder, params)
    return SynthesisCosts(
        caption=captions / len(every),
        picture=drawing / (2 * len(chosen)),
        embed=embedding / _count_pictures(chosen),
        keep=(max(0.0, making - drawing) + judging) / len(chosen),
    )


def _describe_scenes(pairs: int) -> ScenesParams:
    """Scenes enough for some pairs: a family has an edit, there and back."""
    families = {"train": WARM + pairs, "validation": 0}
    shared = {"reads": "data", "min_rows": 1, "floors": None, "seed": 17}
    return ScenesParams.model_validate({"recipe": "scenes", "families": families, "edits_per_relation": 1, **shared})


def _time_pass(folder: Path, params: EmbeddingParams) -> tuple[float, float]:
    """Seconds to embed the last shard of `folder`/set, and to judge its rows; the first one loads weights and code."""
    opened = open_set(folder / "set")
    embedder = SetEmbedder(opened.address, folder / "encoder", params)
    for shard in opened.description.shards:
        embedding, _ = _time_work(lambda shard=shard: embedder(ShardTask(shard, folder / "part.npz")))  # type: ignore[misc]
    embed_set(folder / "embeddings", opened.address, folder / "encoder", params)
    nothing = np.empty(0, np.uint64)
    judged = Judged(opened, SetEmbeddings.load(folder / "embeddings"), HeldOut(nothing, nothing))
    judging, rows = _time_work(lambda: sum(map(len, frame_rows(judged, 2**20))))
    return embedding, judging * opened.description.shards[-1].rows / rows


def _count_pictures(pairs: tuple[CaptionPair, ...]) -> int:
    return len({name for pair in pairs for name in (pair.reference, pair.target)})


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
