"""Pictures a second of an encoder in each precision, and how far each is from float32."""

from collections.abc import Iterator

import torch
from torch.nn import functional

from compodiff.encoders import open_clip_encoder
from compodiff.speed.gpu.timing import Row, allow_tf32, measure_seconds

_COARSE = 8  # cells a side of a picture that are drawn; noise of single pixels is nothing that a picture shows
_WAYS = {
    "fp32": (torch.float32, False),
    "TF32": (torch.float32, True),
    "bf16": (torch.bfloat16, False),
}


def measure_encoding(name: str, device: torch.device, model: str, pictures: int, repeats: int) -> Iterator[Row]:
    """Yield the figures of the picture tower of a model of open_clip's list, with random weights."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        encoder = open_clip_encoder(model, pretrained=None)
    module, edge = encoder.picture.module.to(device), encoder.manifest.picture.image_size
    coarse = torch.randn(pictures, 3, _COARSE, _COARSE, generator=torch.Generator().manual_seed(0))
    pixels = functional.interpolate(coarse, size=(edge, edge), mode="bicubic").to(device)
    exact = None
    for way, (dtype, tf32) in _WAYS.items():
        module.to(dtype)
        with allow_tf32(tf32), torch.inference_mode():
            made = encoder.picture.embed(pixels).double()
            seconds = measure_seconds(lambda: encoder.picture.embed(pixels), device, repeats)
        exact = made if exact is None else exact
        yield Row(name, f"{model}, {way}, batch {pictures}", pictures / seconds, "pictures/s")
        if made is not exact:
            least = functional.cosine_similarity(made, exact, dim=-1).min()
            yield Row(name, f"{model}, {way}: least cosine to fp32", float(least))
