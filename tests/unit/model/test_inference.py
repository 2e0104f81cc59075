"""Linears in oneDNN, packed or with gradients: torch's numbers, or torch's layer."""

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from compodiff.machine import Processor
from compodiff.model.inference import PackedLinear, can_pack, prepare_for_inference
from compodiff.model.network import linears
from compodiff.model.network.context import PackedText
from compodiff.model.network.denoiser import Denoiser
from compodiff.model.network.linears import Linear, is_onednn_faster
from compodiff.precision import DTYPES


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="oneDNN is not in this torch")
@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 1e-5), ("bfloat16", 0.2)])
@pytest.mark.parametrize("uses", [0, 10**6])
def test_packed_is_plain(denoiser: Denoiser, texts: PackedText, precision: str, tolerance: float, uses: int) -> None:
    ready = prepare_for_inference(copy.deepcopy(denoiser), precision)  # type: ignore[arg-type]
    assert any(isinstance(module, PackedLinear) for module in ready.modules()) is can_pack(DTYPES[precision])
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(3, denoiser.config.embedding_dim, generator=generator)
    x_t, timestep = torch.randn(image.shape, generator=generator), torch.tensor([600])
    for reference in (image, None):
        plain, packed = (
            net(x_t, timestep, net.prepare_context(texts, reference, uses=uses)) for net in (denoiser, ready)
        )
        assert packed.dtype == torch.float32
        torch.testing.assert_close(packed, plain, rtol=0, atol=tolerance * float(plain.abs().mean()))


def test_a_layer_that_packs_wrongly_stays_plain(denoiser: Denoiser, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PackedLinear, "forward", lambda self, x: torch.zeros(*x.shape[:-1], 1))
    ready = prepare_for_inference(denoiser, "float32")
    assert not any(isinstance(module, PackedLinear) for module in ready.modules())
    assert any(isinstance(module, nn.Linear) for module in ready.modules())


@given(rows=st.integers(0, 9), width_in=st.integers(1, 40), width_out=st.integers(1, 40), bias=st.booleans())
def test_a_linear_is_torchs_forward_and_backward(rows: int, width_in: int, width_out: int, bias: bool) -> None:
    ours = Linear(width_in, width_out, bias=bias)
    theirs = nn.Linear(width_in, width_out, bias=bias)
    theirs.load_state_dict(ours.state_dict())
    inputs = [torch.randn(2, rows, width_in, generator=torch.Generator().manual_seed(0)).requires_grad_() for _ in "ab"]
    for linear, x in zip((ours, theirs), inputs, strict=True):
        linear(x).square().sum().backward()
    torch.testing.assert_close(inputs[0].grad, inputs[1].grad, rtol=1e-4, atol=1e-4)
    for mine, known in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, known.grad, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("vendor", "wins"), [("AuthenticAMD", True), ("GenuineIntel", False), ("", False)])
def test_onednn_is_taken_on_amd_only(vendor: str, wins: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linears, "read_processor", lambda: Processor("one", vendor, frozenset()))
    assert is_onednn_faster.__wrapped__() is (wins and torch.backends.mkldnn.is_available())


def test_onednn_that_computes_something_else_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linears, "read_processor", lambda: Processor("one", "AuthenticAMD", frozenset()))
    monkeypatch.setattr(linears, "_multiply", lambda x, weight: 1.001 * x @ weight.T)
    assert not is_onednn_faster.__wrapped__()
