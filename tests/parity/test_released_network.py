"""Our network, guidance and legacy sampler against outputs recorded from the released inference code.

The folder is COMPODIFF_PARITY_DIR (default ../shared/parity beside the project); any folder with the same file names
and keys will do, since the architecture is read off the tensors. Measured on the default folder, relative to the mean
|output|: 1.3e-6 for the network, 3e-6 guided, 2e-6 and 3e-6 for the samples.
"""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from compodiff.model.network.context import PackedText
from compodiff.model.network.denoiser import Denoiser
from compodiff.model.sampling.process import Process
from compodiff.model.sampling.query import Conditions, SamplerOptions
from compodiff.model.sampling.sampler import guide, sample
from compodiff.released.weights import convert_from_released, convert_to_released

FOLDER = Path(os.environ.get("COMPODIFF_PARITY_DIR", Path(__file__).parents[3] / "shared" / "parity"))
WEIGHTS, RECORDED = FOLDER / "tiny_reference.safetensors", FOLDER / "tiny_reference_io.npz"
NETWORK_TOLERANCE, SAMPLE_TOLERANCE = 1e-5, 1e-4

pytestmark = [
    pytest.mark.skipif(not (WEIGHTS.is_file() and RECORDED.is_file()), reason=f"no recorded outputs in {FOLDER}"),
    pytest.mark.usefixtures("_no_gradients"),
]


@pytest.fixture(scope="module")
def _no_gradients() -> object:
    with torch.inference_mode():
        yield


@pytest.fixture(scope="module")
def recorded() -> dict[str, Tensor]:
    with np.load(RECORDED) as arrays:
        return {name: torch.from_numpy(arrays[name]) for name in arrays.files}


@pytest.fixture(scope="module")
def model() -> tuple[Denoiser, Process]:
    config, timesteps, weights = convert_from_released(load_file(WEIGHTS))
    denoiser = Denoiser(config).eval()
    denoiser.load_state_dict(weights)
    return denoiser, Process("diffusion", timesteps)


@pytest.fixture(scope="module")
def conditions(recorded: dict[str, Tensor]) -> Conditions:
    negative, text = PackedText.pack(recorded["negative"]), PackedText.pack(recorded["text"])
    return Conditions(negative, text, recorded["image_cond"][:, 0], None, recorded["mask"])


def legacy(calls: int, guidance: Tensor, draws: int) -> SamplerOptions:
    w_image, w_text = guidance.tolist()
    return SamplerOptions(calls, "ddim", "legacy", 1.0, w_image, w_text, draws, 0.0, 0.0)


def error(ours: Tensor, theirs: Tensor) -> float:
    assert ours.shape == theirs.shape
    return float((ours - theirs).abs().max() / theirs.abs().mean())


@pytest.mark.parametrize("uses", [0, 10**6], ids=["unprojected", "projected"])
def test_network(
    model: tuple[Denoiser, Process], recorded: dict[str, Tensor], conditions: Conditions, uses: int
) -> None:
    denoiser, _ = model
    assert conditions.text is not None
    context = denoiser.prepare_context(conditions.text, conditions.image, conditions.mask, uses=uses)
    x0 = denoiser(recorded["x"][:, 0], recorded["timesteps"], context)
    assert error(x0[:, None], recorded["net_out"]) <= NETWORK_TOLERANCE


def test_guided_prediction(
    model: tuple[Denoiser, Process], recorded: dict[str, Tensor], conditions: Conditions
) -> None:
    denoiser, _ = model
    predict = guide(denoiser, conditions, legacy(1, recorded["guided_guidance"], 1))
    x, times = recorded["x"][:, 0], recorded["timesteps"].tolist()
    rows = [predict(x, time)[row : row + 1] for row, time in enumerate(times)]
    assert error(torch.stack(rows), recorded["guided_out"]) <= NETWORK_TOLERANCE


@pytest.mark.parametrize("name", ["sample10", "sample5"])
def test_samples(
    model: tuple[Denoiser, Process], recorded: dict[str, Tensor], conditions: Conditions, name: str
) -> None:
    denoiser, process = model
    draws, calls = int(recorded[f"{name}_num_samples"]), int(recorded[f"{name}_timesteps"]) - 1
    options = legacy(calls, recorded[f"{name}_guidance"], draws)
    generator = torch.Generator().manual_seed(int(recorded[f"{name}_seed"]))
    queries, _, width = recorded["x"].shape

    def noise() -> Tensor:
        # The released code draws for the whole batch at once, from one generator.
        return torch.randn(queries * draws, 1, width, generator=generator)[:, 0]

    x0 = sample(guide(denoiser, conditions, options), options, process, noise)
    assert error(x0.view(queries, draws, width).mean(1), recorded[name]) <= SAMPLE_TOLERANCE


def test_conversion_back_restores_every_tensor(model: tuple[Denoiser, Process]) -> None:
    denoiser, process = model
    back = convert_to_released(denoiser.config, process.num_train_timesteps, denoiser.state_dict())
    stored = load_file(WEIGHTS)
    assert back.keys() >= stored.keys()
    assert all(torch.equal(back[name], tensor) for name, tensor in stored.items())
