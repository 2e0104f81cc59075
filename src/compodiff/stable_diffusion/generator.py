"""Pictures for caption pairs by Stable Diffusion 1.5, 2.x or XL with Prompt-to-Prompt; the one module on diffusers.

Both pictures of a pair start at the same noise and share attention maps in the first part of the steps. That part and
the guidance are drawn for each candidate, as InstructPix2Pix does (paper: SynthTriplets18M, images).
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import chain, groupby, islice
from pathlib import Path
from typing import Any

import torch
from diffusers import DiffusionPipeline, StableDiffusionPipeline, StableDiffusionXLPipeline
from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
from PIL import Image
from safetensors import SafetensorError
from tqdm import tqdm
from transformers import CLIPImageProcessor

from compodiff.encoders import load_encoder
from compodiff.errors import InputInvalid
from compodiff.execution.gpu_memory import MemoryBound
from compodiff.hub import find_model_folder
from compodiff.pairs.pair import CaptionPair, PicturePair
from compodiff.params import DiffusionParams
from compodiff.precision import choose_device
from compodiff.stable_diffusion.candidates import BestByDirection, CandidateDraw, list_draws
from compodiff.stable_diffusion.prompt_to_prompt import Sharing, Word, align, group_words, share_attention

Picker = Callable[[Sequence[PicturePair]], list[PicturePair]]
UNSAFE = "unsafe"
log = logging.getLogger(__name__)


class _GuidanceByRow:
    """Lets a pipeline take a guidance for each of its pictures, (2 B, 1, 1, 1); diffusers knows one for all."""

    @property
    def do_classifier_free_guidance(self) -> bool:
        return True


class _GuidedPipeline(_GuidanceByRow, StableDiffusionPipeline):  # type: ignore[misc]
    pass


class _GuidedXLPipeline(_GuidanceByRow, StableDiffusionXLPipeline):  # type: ignore[misc]
    pass


_PIPELINES: dict[str, Any] = {
    "StableDiffusionPipeline": _GuidedPipeline,
    "StableDiffusionXLPipeline": _GuidedXLPipeline,
}


class SafetyChecker:
    """Stable Diffusion's own checker, for pictures from anywhere."""

    def __init__(self, network: StableDiffusionSafetyChecker, preprocess: CLIPImageProcessor) -> None:
        self._network = network.eval()
        self._preprocess = preprocess

    @classmethod
    def load(cls, place: str) -> "SafetyChecker":
        """Load the checker in a folder, or of a hub id, in safetensors.

        Raises:
            InputInvalid: the folder holds none.
            ResourceUnavailable: it is not on this machine.
        """
        folder = find_model_folder(place)
        try:
            network = StableDiffusionSafetyChecker.from_pretrained(folder, use_safetensors=True)
            return cls(network, CLIPImageProcessor.from_pretrained(folder))
        except (OSError, ValueError, SafetensorError) as error:
            raise _make_load_error("safety checker", place, error) from error

    @torch.inference_mode()
    def find_unsafe(self, pictures: Sequence[Image.Image]) -> list[bool]:
        """Say of each picture (RGB) whether it shows one of the checker's concepts."""
        pixels = self._preprocess(list(pictures), return_tensors="pt").pixel_values
        pixels = pixels.to(self._network.device, self._network.dtype)
        # The same verdicts as forward, which besides logs that it blackened a picture for every one that it finds.
        _, flags = self._network.forward_onnx(pixels, torch.zeros(len(pixels)))
        verdicts: list[bool] = flags.tolist()
        return verdicts


class DiffusionGenerator:
    """Draws both pictures of each caption pair, several times, and keeps the best."""

    def __init__(self, pipeline: Any, checker: SafetyChecker, pick: Picker, params: DiffusionParams, seed: int) -> None:
        self._pipeline = pipeline
        self._checker = checker
        self._pick = pick
        self._params = params
        self._seed = seed
        what = f"pairs of pictures of {params.picture_size} px"
        self._memory = MemoryBound(what, "choose a smaller pipeline, picture_size or float16")

    def generate(self, pairs: Sequence[CaptionPair]) -> Iterator[PicturePair]:
        """Yield the best candidates of each pair under keys of their own: equal pairs give equal pictures.

        Candidates with a picture that the safety checker flags follow, as rejected.

        Raises:
            ResourceUnavailable: not even one pair fits the GPU's memory.
        """
        count = 0
        draws = chain.from_iterable(list_draws(pair, self._params, self._seed) for pair in pairs)
        candidates = enumerate(self._check_safety(pair) for pair in self._draw_pairs(draws))
        with tqdm(total=len(pairs), desc="drawing", unit=" pairs", disable=None) as bar:
            for _, of_one in groupby(candidates, key=lambda numbered: numbered[0] // self._params.candidates):
                made = [pair for _, pair in of_one]
                unsafe = [pair for pair in made if pair.rejected_by]
                yield from self._pick([pair for pair in made if not pair.rejected_by])
                yield from unsafe
                count += len(unsafe)
                bar.update()
        if count:
            log.warning("the safety checker took out %d of %d candidates", count, len(pairs) * self._params.candidates)

    def _check_safety(self, pair: PicturePair) -> PicturePair:
        unsafe = any(self._checker.find_unsafe([pair.reference, pair.target]))
        return replace(pair, rejected_by=UNSAFE) if unsafe else pair

    def _draw_pairs(self, draws: Iterator[CandidateDraw]) -> Iterator[PicturePair]:
        while batch := list(islice(draws, self._params.batch_size)):
            yield from chain.from_iterable(self._memory.run_by_parts(self._draw_batch, batch))

    def _draw_batch(self, draws: Sequence[CandidateDraw]) -> list[PicturePair]:
        """Draw a batch, the references first and then the targets."""
        pipeline, rows = self._pipeline, [*draws, *draws]
        references = [draw.captions.reference_caption for draw in draws]
        targets = [draw.captions.target_caption for draw in draws]
        length = pipeline.tokenizer.model_max_length
        words = zip(self._split_words(references), self._split_words(targets), strict=True)
        alignments = [align(*pair, length) for pair in words]
        guidance = torch.tensor([draw.guidance for draw in rows])[:, None, None, None]
        sharing = Sharing(alignments, [draw.shared for draw in draws], pipeline.device)

        def advance(running: Any, step: int, _timestep: Any, _tensors: dict[str, Any]) -> dict[str, Any]:
            sharing.advance((step + 1) / running.num_timesteps)
            return {}

        with share_attention(pipeline.unet, sharing):
            pictures = pipeline(
                prompt=references + targets,
                height=self._params.picture_size,
                width=self._params.picture_size,
                num_inference_steps=self._params.steps,
                guidance_scale=guidance.to(pipeline.device, pipeline.dtype),
                # On the CPU, so that every device draws the same noise; equal seeds: the same at every step, too.
                generator=[torch.Generator().manual_seed(draw.noise) for draw in rows],
                callback_on_step_end=advance,
            ).images
        both = zip(draws, pictures[: len(draws)], pictures[len(draws) :], strict=True)
        return [PicturePair(draw.captions, reference, target) for draw, reference, target in both]

    def _split_words(self, captions: list[str]) -> list[list[Word]]:
        tokens = self._pipeline.tokenizer(captions, truncation=True)
        return [group_words(ids, tokens.word_ids(row)) for row, ids in enumerate(tokens.input_ids)]


def load_diffusion_generator(
    params: DiffusionParams, *, seed: int, encoder: Path, batch_size: int
) -> DiffusionGenerator:
    """Load a generator, on the GPU where there is one; the encoder in `encoder` chooses the best candidates.

    All that is random comes of `seed` and the pairs' keys.

    Raises:
        InputInvalid: pipeline, checker or scheduler are not what they should be.
        ResourceUnavailable: they could not be fetched.
    """
    pipeline = load_pipeline(params).to(choose_device())
    pipeline.set_progress_bar_config(disable=True)
    if getattr(pipeline, "safety_checker", None) is not None:
        checker = SafetyChecker(pipeline.safety_checker, pipeline.feature_extractor)
        pipeline.safety_checker = None  # asked by us, the same way for every pipeline
    elif params.safety_checker is not None:
        checker = SafetyChecker.load(params.safety_checker)
    else:
        raise InputInvalid(
            f"the pipeline {params.pipeline} brings no safety checker; name one in "
            "synthesis.drawn.diffusion.safety_checker, such as CompVis/stable-diffusion-safety-checker"
        )
    picker = BestByDirection(load_encoder(encoder).prepare_for_many(), kept=params.kept, batch_size=batch_size)
    return DiffusionGenerator(pipeline, checker, picker, params, seed)


def load_pipeline(params: DiffusionParams) -> Any:
    """Load a pipeline with the scheduler asked for.

    Raises:
        InputInvalid: it is no Stable Diffusion pipeline, has no safetensors, or the scheduler does not go with it.
        ResourceUnavailable: it is not on this machine; the message names the command that fetches it.
    """
    place = params.pipeline
    folder = find_model_folder(place, params.revision)
    try:
        name = DiffusionPipeline.load_config(folder)["_class_name"]
        if name not in _PIPELINES:
            raise InputInvalid(f"{place} is a {name}; this works with: {', '.join(_PIPELINES)}")
        precision = getattr(torch, params.precision)
        pipeline = _PIPELINES[name].from_pretrained(folder, use_safetensors=True, dtype=precision)
    except (OSError, ValueError, SafetensorError) as error:
        raise _make_load_error("pipeline", place, error) from error
    # The SDE solver draws noise that no generator decides.
    fitting = {each.__name__: each for each in pipeline.scheduler.compatibles if "SDE" not in each.__name__}
    if params.scheduler not in fitting:
        raise InputInvalid(f"{params.scheduler!r} is no scheduler for {place}; choose: {', '.join(sorted(fitting))}")
    pipeline.scheduler = fitting[params.scheduler].from_config(pipeline.scheduler.config)
    return pipeline


def _make_load_error(what: str, place: str, error: Exception) -> InputInvalid:
    return InputInvalid(f"{place} holds no {what} in safetensors: {' '.join(str(error).split())[:300]}")
