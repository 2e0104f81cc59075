"""Packed linears: the same numbers, or the plain layer."""

import copy

import pytest
import torch
from torch import nn

from compodiff.model.context import PackedText
from compodiff.model.denoiser import Denoiser
from compodiff.model.inference import PackedLinear, for_inference


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="oneDNN is not in this torch")
@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 1e-5), ("bfloat16", 0.2)])
@pytest.mark.parametrize("uses", [0, 10**6])
def test_packed_is_plain(denoiser: Denoiser, texts: PackedText, precision: str, tolerance: float, uses: int) -> None:
    ready = for_inference(copy.deepcopy(denoiser), precision)  # type: ignore[arg-type]
    assert any(isinstance(module, PackedLinear) for module in ready.modules())
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(3, denoiser.config.embedding_dim, generator=generator)
    x_t, timestep = torch.randn(image.shape, generator=generator), torch.tensor([600])
    plain, packed = (net(x_t, timestep, net.context(texts, image, uses=uses)) for net in (denoiser, ready))
    assert packed.dtype == torch.float32
    torch.testing.assert_close(packed, plain, rtol=0, atol=tolerance * float(plain.abs().mean()))


def test_a_layer_that_packs_wrongly_stays_plain(denoiser: Denoiser, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PackedLinear, "forward", lambda self, x: torch.zeros(*x.shape[:-1], 1))
    ready = for_inference(denoiser, "float32")
    assert not any(isinstance(module, PackedLinear) for module in ready.modules())
    assert any(isinstance(module, nn.Linear) for module in ready.modules())
