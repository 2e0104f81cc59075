"""The default encoder's frozen towers, compiled by OpenVINO for this processor where it is installed.

Compiled, a core takes 150 to 180 pictures a second through the image tower instead of torch's 66; texts, one at a time,
go about as fast as by torch (docs/decisions/0009-minutes.md). Each tower is compiled when it is first needed, which
takes seconds, and held to torch's numbers on a probe; a tower that differs stays torch's. Shapes: B pictures or texts,
L tokens, F joined map values, D_text width of the text tower.
"""

import logging
import warnings
from collections.abc import Callable, Sequence
from functools import cached_property
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

# Largest |compiled - torch| over the mean |torch|: batch norms folded into weights and another order of summation give
# 2e-5 for pictures, 1e-5 for texts.
TOLERANCE = 1e-4
PROBES, PROBE_TOKENS = 2, 5
log = logging.getLogger(__name__)
Run = Callable[..., Tensor]


class CompiledTowers:
    """Both towers as functions of tensors on the CPU; they use as many threads as torch does."""

    def __init__(self, model: Any, image_size: int) -> None:
        """Take the towers of an open_clip model: a StagedTower, and a text tower from transformers."""
        self._visual, self._transformer, self._image_size = model.visual, model.text.transformer, image_size

    def compute_joined_maps(self, pixels: Tensor) -> Tensor:
        """Return what the image projection sees, pixels (B, 3, H, W) -> (B, F), whatever else is in the batch."""
        return self._picture_tower(pixels)

    def compute_states(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Return last states of the text tower, ids and mask (B, L) -> (B, L, D_text); zeros for padding.

        A text's states do not depend on its batch: each runs alone and without padding.
        """
        if not isinstance(self._text_tower, _Compiled):
            return self._text_tower(ids, mask)
        lengths = mask.sum(dim=1).tolist()
        calls = [
            (ids[row : row + 1, :length], mask[row : row + 1, :length]) for row, length in enumerate(lengths)
        ]  # (1, L of this text)
        own = [torch.from_numpy(states[0]) for states in self._text_tower.run(calls)]
        return nn.utils.rnn.pad_sequence(own, batch_first=True)

    @cached_property
    def _picture_tower(self) -> Run:
        generator = torch.Generator().manual_seed(0)
        probe = torch.randn(PROBES, 3, self._image_size, self._image_size, generator=generator)
        # One picture at a time fills a core as well as sixteen do, and its numbers are the same in every batch.
        return _compile_if_equal(_Maps(self._visual), (probe,), [[1, *probe.shape[1:]]])

    @cached_property
    def _text_tower(self) -> Run:
        ids = torch.arange(PROBES * PROBE_TOKENS).view(PROBES, PROBE_TOKENS) + 1000
        return _compile_if_equal(_States(self._transformer), (ids, torch.ones_like(ids)), [[1, -1], [1, -1]])


def is_installed() -> bool:
    """Return whether OpenVINO is there; the extra `cpu` brings it."""
    return find_spec("openvino") is not None


class _Maps(nn.Module):
    def __init__(self, tower: Any) -> None:
        super().__init__()
        self.tower = tower

    def forward(self, pixels: Tensor) -> Tensor:
        maps: Tensor = self.tower.compute_joined_maps(pixels)
        return maps


class _States(nn.Module):
    def __init__(self, transformer: nn.Module) -> None:
        super().__init__()
        self.transformer = transformer

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        states: Tensor = self.transformer(input_ids=ids, attention_mask=mask).last_hidden_state
        return states


@torch.inference_mode()
def _compile_if_equal(tower: nn.Module, probe: tuple[Tensor, ...], shapes: Sequence[Sequence[int]]) -> Run:
    """Compile `tower` for inputs of `shapes` (-1: any length), or return it as it is where it then computes otherwise.

    Args:
        tower: tensors -> a tensor.
        probe: what it is traced with and checked on.
        shapes: of its inputs, a row at a time.
    """
    expected: Tensor = tower(*probe)
    try:
        compiled = _Compiled(tower, probe, shapes)
        error = float((compiled(*probe) - expected).abs().max() / expected.abs().mean())
    except RuntimeError as failure:
        log.warning("OpenVINO does not compile a tower here, torch runs it: %s", str(failure).strip().splitlines()[-1])
        return tower
    if not error <= TOLERANCE:
        log.warning("a tower that OpenVINO compiled is off by %.1e of its mean, torch runs it", error)
        return tower
    return compiled


class _Compiled:
    """A traced module on OpenVINO's threads, each of which runs whole calls of its own."""

    def __init__(self, tower: nn.Module, probe: tuple[Tensor, ...], shapes: Sequence[Sequence[int]]) -> None:
        import openvino
        from openvino.frontend import FrontEndManager
        from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

        # Not openvino.convert_model, which would count its use by telemetry.
        with warnings.catch_warnings(action="ignore"):  # that tracing is deprecated, and fixes what the probe decided
            traced = torch.jit.trace(tower, probe, check_trace=False)  # type: ignore[no-untyped-call]
        decoder = TorchScriptPythonDecoder(traced, example_input=probe)
        frontend = FrontEndManager().load_by_framework("pytorch")
        model = frontend.convert(frontend.load(decoder))
        for node, shape in zip(model.inputs, shapes, strict=True):
            node.get_node().set_partial_shape(openvino.PartialShape(list(shape)))
        model.validate_nodes_and_infer_types()
        threads = torch.get_num_threads()
        settings = {"NUM_STREAMS": threads, "INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "f32"}
        self._model = openvino.Core().compile_model(model, "CPU", settings)
        self._queue = openvino.AsyncInferQueue(self._model, threads)

    def __call__(self, *inputs: Tensor) -> Tensor:
        """Return the tower's output for inputs of B rows each."""
        return torch.from_numpy(
            np.concatenate(self.run([[each[None] for each in rows] for rows in zip(*inputs, strict=True)]))
        )

    def run(self, calls: Sequence[Sequence[Tensor]]) -> list[NDArray[np.float32]]:
        """Return the output of each call, in their order; a call's inputs have one row."""
        outputs: dict[int, NDArray[np.float32]] = {}

        def keep(request: Any, place: int) -> None:
            outputs[place] = request.get_output_tensor().data.copy()

        self._queue.set_callback(keep)
        for place, inputs in enumerate(calls):
            self._queue.start_async([each.contiguous().numpy() for each in inputs], place)
        self._queue.wait_all()
        return [outputs[place] for place in range(len(calls))]
