import pytest
import torch

from compodiff.encoders import Encoder, EncoderManifest


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
