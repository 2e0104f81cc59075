import pytest
import torch

from compodiff.encoders import Encoder, EncoderManifest
from compodiff.model.checkpoint import ModelCard
from compodiff.model.network.denoiser import Denoiser, DenoiserConfig
from compodiff.model.sampling.process import Process
from compodiff.params import SamplingParams
from compodiff.search.composer import Composer


@pytest.fixture(scope="session")
def encoder() -> Encoder:
    """A CLIP of open_clip's own class and tokenizer with one layer a tower and random weights."""
    from open_clip import CLIP, SimpleTokenizer

    torch.set_num_threads(1)
    torch.manual_seed(3)  # open_clip draws its weights from the global generator
    model = CLIP(
        embed_dim=16,
        vision_cfg={"layers": 1, "width": 32, "head_width": 16, "patch_size": 8, "image_size": 32},
        text_cfg={"context_length": 16, "width": 16, "heads": 2, "layers": 1},
    )
    manifest = EncoderManifest(
        name="tiny-clip",
        weights_digest="0" * 64,
        activation="gelu",
        image_size=32,
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
        interpolation="bicubic",
        resize_mode="squash",
        embedding_dim=16,
        token_dim=16,
        context_length=16,
    )
    return Encoder(model, SimpleTokenizer(context_length=16), manifest)


SAMPLING = SamplingParams(
    seed=5,
    num_inference_steps=2,
    solver="unipc",
    grid="trailing",
    eta=0.0,
    w_image=1.5,
    w_text=3.0,
    draws=2,
    fusion="average",
    reference_mixing=0.1,
    masked_reference_mixing=0.05,
    precision="float32",
)


@pytest.fixture(scope="session")
def composer(encoder) -> Composer:
    torch.manual_seed(1)  # nn.Module draws its weights from the global generator
    config = DenoiserConfig(
        embedding_dim=16,
        token_dim=16,
        width=16,
        depth=2,
        heads=2,
        cross_heads=2,
        head_width=8,
        feed_forward_factor=2,
        mask_size=8,
        image_slots=2,
        residual=False,
    )
    card = ModelCard(denoiser=config, process=Process("diffusion", 1000), encoder=encoder.manifest.to_json())
    return Composer(encoder, Denoiser(config).eval().requires_grad_(False), card, SAMPLING)
