import shutil
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline
from factories import make_diffusion_params
from PIL import Image
from worlds.tiny_networks import safety_checker, stable_diffusion, stable_diffusion_xl

from compodiff.errors import InputInvalid, ResourceUnavailable
from compodiff.pairs.pair import CaptionPair, PictureGenerator, PicturePair
from compodiff.pairs.similarity import compare_directions
from compodiff.params import DiffusionParams
from compodiff.recipes.made import ShardMaker, plan_shards
from compodiff.sets import TRIPLETS, finish_set, open_set
from compodiff.stable_diffusion import prompt_to_prompt
from compodiff.stable_diffusion.candidates import BestByDirection, list_draws
from compodiff.stable_diffusion.generator import (
    DiffusionGenerator,
    SafetyChecker,
    load_diffusion_generator,
    load_pipeline,
)

SEED = 17
# Of diffusers' schedulers about themselves, on NumPy 2.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    root = tmp_path_factory.mktemp("networks")
    return {
        "sd": str(stable_diffusion(root / "sd")),
        "xl": str(stable_diffusion_xl(root / "xl")),
        "calm": str(safety_checker(root / "calm", alarmed=False)),
        "alarmed": str(safety_checker(root / "alarmed", alarmed=True)),
    }


@pytest.fixture(scope="module")
def usual(folders: dict[str, str]) -> DiffusionParams:
    return make_diffusion_params(folders["sd"], safety_checker=folders["calm"])


def changed(params: DiffusionParams, **values: Any) -> DiffusionParams:
    return DiffusionParams.model_validate(params.model_dump() | values)


def pair(number: int, reference: str = "a cat on a mat", target: str = "a hippopotamus on a mat") -> CaptionPair:
    texts = (reference, target, "make it a hippopotamus")
    return CaptionPair(f"train-{number:08d}", "train", "", "", *texts, relation="animal", keyword="hippopotamus")


def generator(params: DiffusionParams, pick: Any = list) -> DiffusionGenerator:
    pipeline = load_pipeline(params)
    pipeline.set_progress_bar_config(disable=True)
    pipeline.safety_checker = None
    assert params.safety_checker
    return DiffusionGenerator(pipeline, SafetyChecker.load(params.safety_checker), pick, params, SEED)


def drawn(params: DiffusionParams, pairs: Sequence[CaptionPair]) -> list[PicturePair]:
    made: PictureGenerator = generator(params)
    return list(made.generate(pairs))


def apart(one: Image.Image, other: Image.Image) -> float:
    """Mean difference of two pictures, of 255."""
    return float(np.abs(np.asarray(one, int) - np.asarray(other, int)).mean())


def most_apart(ones: Sequence[PicturePair], others: Sequence[PicturePair]) -> int:
    return max(
        int(np.abs(np.asarray(getattr(a, end), int) - np.asarray(getattr(b, end), int)).max())
        for a, b in zip(ones, others, strict=True)
        for end in ("reference", "target")
    )


@pytest.mark.parametrize("pipeline", ["sd", "xl"])
def test_shared_attention_makes_the_pictures_of_a_pair_closer(usual, folders, pipeline):
    params = changed(usual, pipeline=folders[pipeline])
    pairs = [pair(0), pair(1, "a photo of a cat", "a photo of a cat with a hat")]
    alone = drawn(params, pairs)
    shared = drawn(changed(params, min_shared=1, max_shared=1), pairs)
    for one, other in zip(alone, shared, strict=True):
        assert one.reference.size == (32, 32)
        assert apart(other.reference, other.target) < 0.7 * apart(one.reference, one.target)
        assert one.reference.tobytes() == other.reference.tobytes()  # which takes nothing from its target


def test_a_fraction_of_0_is_independent_sampling_bit_for_bit(usual):
    pairs = [pair(0), pair(1, "a red car", "a car")]
    ours = drawn(usual, pairs)
    plain = StableDiffusionPipeline.from_pretrained(usual.pipeline, safety_checker=None, requires_safety_checker=False)
    plain.set_progress_bar_config(disable=True)
    draws = [draw for it in pairs for draw in list_draws(it, usual, SEED)]
    for number, draw in enumerate(draws):
        pictures = plain(
            [it.reference_caption for it in pairs] + [it.target_caption for it in pairs],
            height=32,
            width=32,
            num_inference_steps=4,
            guidance_scale=draw.guidance,
            generator=[torch.Generator().manual_seed(it.noise) for it in (*draws, *draws)],
        ).images
        assert ours[number].reference.tobytes() == pictures[number].tobytes()
        assert ours[number].target.tobytes() == pictures[2 + number].tobytes()


def test_replacing_a_word_leaves_the_other_words_maps_equal(usual, monkeypatch):
    calls = []
    mixed_maps = prompt_to_prompt.mix_maps

    def recorded(reference, own, alignment):
        calls.append((reference, own, mixed := mixed_maps(reference, own, alignment)))
        return mixed

    monkeypatch.setattr(prompt_to_prompt, "mix_maps", recorded)
    made = generator(changed(usual, min_shared=1, max_shared=1))
    tokenize = made._pipeline.tokenizer
    list(made.generate([pair(0)]))
    new = len(tokenize("hippopotamus").input_ids) - 2
    assert new > 1
    assert len(calls) == 4 * 4  # steps, layers with cross-attention
    for reference, own, mixed in calls:
        there, here, ours = (maps[-1] for maps in (reference, mixed, own))  # the half with text
        assert torch.equal(here[..., :2], there[..., :2])  # start, "a"
        assert torch.equal(here[..., 2 + new : 5 + new], there[..., 3:6])  # "on a mat"
        torch.testing.assert_close(here[..., 2 : 2 + new].sum(dim=-1), there[..., 2])
        assert (ours[..., 3:6] - there[..., 3:6]).abs().max() > 1e-4  # its own would have been others


def test_pictures_depend_on_the_key_and_not_on_the_batch(usual):
    params = changed(usual, min_shared=0.1, max_shared=0.9, candidates=2, kept=2)
    pairs = [pair(0), pair(1), pair(2, "a red car", "a blue car")]
    together = drawn(params, pairs)
    assert [it.captions.key for it in together] == [f"{it.key}-{n:02d}" for it in pairs for n in range(2)]
    assert len({it.captions.reference for it in together} | {it.captions.target for it in together}) == 12
    alone = [made for it in pairs for made in drawn(changed(params, batch_size=1), [it])]
    assert most_apart(together, alone) <= 1  # of 255: sums of another order
    assert drawn(params, pairs)[3].target.tobytes() == together[3].target.tobytes()
    assert apart(together[0].reference, together[2].reference) > 1  # equal captions, another key
    assert apart(together[0].reference, together[1].reference) > 1  # another candidate


@pytest.mark.parametrize(
    "scheduler",
    ["EulerAncestralDiscreteScheduler", "HeunDiscreteScheduler", "PNDMScheduler", "UniPCMultistepScheduler"],
)
def test_any_scheduler_draws_equal_captions_equally_as_the_noise_is_the_same(usual, scheduler):
    params = changed(usual, scheduler=scheduler)
    (made,) = drawn(params, [pair(0, "a cat on a mat", "a cat on a mat")])
    assert apart(made.reference, made.target) < 0.1
    before, after = (drawn(changed(params, min_shared=f, max_shared=f), [pair(0)])[0] for f in (0.0, 0.7))
    assert apart(after.reference, after.target) < 0.8 * apart(before.reference, before.target)


def test_candidates_that_the_safety_checker_flags_are_rejected_and_counted(usual, folders, caplog):
    made = generator(changed(usual, safety_checker=folders["alarmed"], candidates=2, kept=1))
    assert [it.rejected_by for it in made.generate([pair(0), pair(1)])] == ["unsafe"] * 4
    assert "the safety checker took out 4 of 4 candidates" in caplog.text


def test_one_unsafe_picture_is_enough_to_reject_its_pair(usual):
    made = generator(usual)
    verdicts = iter([[False, True], [False, False], [True, False]])
    made._checker.find_unsafe = lambda _pictures: next(verdicts)  # type: ignore[method-assign]
    verdict_of = {it.captions.key: it.rejected_by for it in made.generate([pair(0), pair(1), pair(2)])}
    assert verdict_of == {"train-00000000-00": "unsafe", "train-00000001-00": "", "train-00000002-00": "unsafe"}


def test_the_pipelines_own_checker_is_used_and_one_is_required(usual, folders, encoder_folder, tmp_path):
    make = partial(load_diffusion_generator, seed=SEED, encoder=encoder_folder, batch_size=4)
    alarmed = stable_diffusion(tmp_path / "alarmed", alarmed=True)
    own = make(changed(usual, pipeline=str(alarmed), safety_checker=None))
    assert [it.rejected_by for it in own.generate([pair(0)])] == ["unsafe"]
    with pytest.raises(InputInvalid, match="brings no safety checker; name one"):
        make(changed(usual, pipeline=folders["xl"], safety_checker=None))
    assert len(list(make(changed(usual, pipeline=folders["xl"])).generate([pair(0)]))) == 1


def test_the_best_candidates_by_directional_similarity_are_kept(usual, tiny_encoder):
    params = changed(usual, candidates=4, kept=2)
    everything = drawn(params, [pair(0)])
    best = list(generator(params, BestByDirection(tiny_encoder, kept=2, batch_size=3)).generate([pair(0)]))
    texts = tiny_encoder.encode_texts([pair(0).reference_caption, pair(0).target_caption]).pooled.numpy()
    ends = [tiny_encoder.encode_images([getattr(it, e) for it in everything]).numpy() for e in ("reference", "target")]
    order = np.argsort(-compare_directions(*ends, texts[:1], texts[1:]))[:2]
    assert [it.captions.key for it in best] == [everything[place].captions.key for place in order]


def test_a_gpu_out_of_memory_gets_smaller_batches_and_says_so_once(usual, caplog):
    pairs = [pair(number) for number in range(7)]
    expected = drawn(usual, pairs)
    made = generator(changed(usual, batch_size=6))
    sizes = []

    def bounded(_network, arguments):
        sizes.append(len(arguments[0]) // 4)
        if sizes[-1] > 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    made._pipeline.unet.register_forward_pre_hook(bounded)
    assert most_apart(list(made.generate(pairs)), expected) <= 1
    assert sizes[:2] == [6, 3]
    assert set(sizes[2:]) == {1}
    assert [it.message for it in caplog.records if "memory" in it.message] == [
        "the GPU's memory ends at 6 pairs of pictures of 32 px: 1 at a time from now on"
    ]


def test_a_pair_that_does_not_fit_the_gpu_at_all_is_an_error(usual):
    made = generator(usual)

    def full(_network, _arguments):
        raise torch.OutOfMemoryError("CUDA out of memory")

    made._pipeline.unet.register_forward_pre_hook(full)
    with pytest.raises(ResourceUnavailable, match="not hold even one of the pairs of pictures of 32 px; choose"):
        list(made.generate([pair(0), pair(1)]))


def test_bfloat16_draws_nearly_the_same(usual):
    params = changed(usual, precision="bfloat16", min_shared=0.5, max_shared=0.5)
    made = generator(params)
    assert made._pipeline.dtype == torch.bfloat16
    (half,), (full,) = list(made.generate([pair(0)])), drawn(changed(params, precision="float32"), [pair(0)])
    (other,) = drawn(changed(params, precision="float32"), [pair(1)])
    assert apart(half.reference, full.reference) < 0.5 * apart(other.reference, full.reference)


def test_what_is_no_pipeline_with_safetensors_and_a_fitting_scheduler_is_refused(usual, folders, tmp_path):
    with pytest.raises(InputInvalid, match=r"'DDIM' is no scheduler for .*DDIMScheduler, DDPMScheduler"):
        load_pipeline(changed(usual, scheduler="DDIM"))
    with pytest.raises(InputInvalid, match="no scheduler"):
        load_pipeline(changed(usual, scheduler="DPMSolverSDEScheduler"))
    pickled = shutil.copytree(folders["sd"], tmp_path / "pickled")
    weights = pickled / "unet" / "diffusion_pytorch_model.safetensors"
    torch.save({}, weights.with_suffix(".bin"))
    weights.unlink()
    with pytest.raises(InputInvalid, match="holds no pipeline in safetensors"):
        load_pipeline(changed(usual, pipeline=str(pickled)))
    with pytest.raises(ResourceUnavailable, match="not on this machine; run: compodiff get nobody/nothing"):
        load_pipeline(changed(usual, pipeline="nobody/nothing"))
    other = pickled / "model_index.json"
    other.write_text(other.read_text().replace('"StableDiffusionPipeline"', '"FluxPipeline"'))
    with pytest.raises(InputInvalid, match="is a FluxPipeline; this works with"):
        load_pipeline(changed(usual, pipeline=str(pickled)))


def test_ranges_are_the_right_way_round(usual):
    for values in ({"min_shared": 0.5}, {"min_guidance": 20}, {"kept": 2}, {"picture_size": 30}, {"min_guidance": 1}):
        with pytest.raises(ValueError, match="validation error"):
            changed(usual, **values)


def test_a_shard_is_filled_with_drawn_pictures(usual, encoder_folder, tmp_path):
    params = changed(usual, candidates=2, kept=1, min_shared=0.1, max_shared=0.9)
    make = partial(load_diffusion_generator, params, seed=SEED, encoder=encoder_folder, batch_size=4)
    (plan,) = plan_shards(tmp_path, [pair(0), pair(1)], 10)
    assert ShardMaker(make)(plan) == 0
    finish_set(tmp_path, TRIPLETS, licence="", source="")
    keys = [row["key"] for row in open_set(tmp_path).iterate_rows()]
    assert [key[:14] for key in keys] == ["train-00000000", "train-00000001"]
