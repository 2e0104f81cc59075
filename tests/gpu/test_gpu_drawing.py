"""Stable Diffusion and CLIPSeg on a GPU: tiny networks of the real classes."""

from pathlib import Path

import numpy as np
import pytest
import torch
from factories import draw_noise, make_diffusion_params

from compodiff.precision import choose_device

pytest.importorskip("diffusers")
pytest.importorskip("open_clip")
pytestmark = pytest.mark.gpu


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_stable_diffusion_draws_the_same_pair_twice(tmp_path: Path, precision: str) -> None:
    from worlds.tiny_networks import safety_checker, stable_diffusion

    from compodiff.pairs.pair import CaptionPair
    from compodiff.stable_diffusion.generator import DiffusionGenerator, SafetyChecker, load_pipeline

    calm = str(safety_checker(tmp_path / "calm", alarmed=False))
    params = make_diffusion_params(stable_diffusion(tmp_path / "sd"), safety_checker=calm, precision=precision)
    pipeline = load_pipeline(params).to(choose_device())
    pipeline.set_progress_bar_config(disable=True)
    pipeline.safety_checker = None
    generator = DiffusionGenerator(pipeline, SafetyChecker.load(calm), list, params, 17)
    texts = ("a cat on a mat", "a hippopotamus on a mat", "make it a hippopotamus")
    pair = CaptionPair("train-00000000", "train", "", "", *texts, relation="animal", keyword="hippopotamus")
    (first,), (second,) = list(generator.generate([pair])), list(generator.generate([pair]))
    assert first.reference.size == first.target.size == (32, 32)
    for one, other in ((first.reference, second.reference), (first.target, second.target)):
        apart = np.abs(np.asarray(one, int) - np.asarray(other, int)).mean()
        assert apart < 1  # of 255


def test_clipseg_finds_on_a_gpu_what_it_finds_on_the_processor(tmp_path: Path) -> None:
    from worlds.tiny_networks import clipseg

    from compodiff.params import MaskParams
    from compodiff.stable_diffusion.clipseg import ClipSegMasks

    values = {"clipseg": str(clipseg(tmp_path / "clipseg")), "revision": None, "threshold": 0.5, "batch_size": 8}
    masks = ClipSegMasks.load(MaskParams.model_validate(values))
    asked = [(draw_noise(number, 48, 48), phrase) for number, phrase in enumerate(("a cat", "a dog"))]
    there = masks._estimate_probabilities(asked)
    masks._network.to("cpu")
    torch.testing.assert_close(there, masks._estimate_probabilities(asked), rtol=1e-2, atol=1e-2)
