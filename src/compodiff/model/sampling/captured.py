"""A guided network call that a GPU repeats from one recording, instead of hundreds of launches at every step."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache

import torch
from torch import Tensor

Call = Callable[[Tensor, Tensor], Tensor]  # x_t (N, D), the timestep's token (1, W) -> x0 (N, D)

FEWEST_CALLS = 4  # fewer do not pay for the recording
# Rows that are recorded at most; none until a card shows that it pays. `compodiff bench gpu` and tests/gpu allow it.
_most_rows = ContextVar("most_rows", default=0)


@contextmanager
def allow_recording(most_rows: int) -> Iterator[None]:
    """Let guided calls of up to so many rows be recorded on a GPU within the block."""
    before = _most_rows.set(most_rows)
    try:
        yield
    finally:
        _most_rows.reset(before)


def pays(device: torch.device, calls: int, rows: int) -> bool:
    """Return whether `calls` of a network on `rows` (N) rows are worth a recording."""
    return device.type == "cuda" and calls >= FEWEST_CALLS and rows <= _most_rows.get()


class Captured:
    """`call`, recorded as a CUDA graph when it is first asked; all later inputs have the same shapes."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self._graph: torch.cuda.CUDAGraph | None = None
        self._inputs: tuple[Tensor, Tensor]
        self._x0: Tensor

    def __call__(self, x_t: Tensor, time: Tensor) -> Tensor:
        """Return call(x_t, time)."""
        if self._graph is None:
            return self._record(x_t, time)
        for kept, given in zip(self._inputs, (x_t, time), strict=True):
            kept.copy_(given)
        self._graph.replay()
        return self._x0.clone()

    def _record(self, x_t: Tensor, time: Tensor) -> Tensor:
        """Answer the first call as usual, which makes ready what a recording may not make, and record the next."""
        first = self._call(x_t, time)
        self._inputs = x_t.clone(), time.clone()
        graph, stream = torch.cuda.CUDAGraph(), _find_stream(x_t.device)
        stream.wait_stream(torch.cuda.current_stream(x_t.device))
        # Another thread of a server may use the GPU meanwhile: only what this one does is recorded. Not by
        # torch.cuda.graph, which collects garbage and empties the caches each time.
        with _recording, torch.cuda.stream(stream):
            graph.capture_begin(capture_error_mode="thread_local")
            try:
                self._x0 = self._call(*self._inputs)
            finally:
                graph.capture_end()
        torch.cuda.current_stream(x_t.device).wait_stream(stream)
        self._graph = graph
        return first


_recording = threading.Lock()  # one thread at a time uses the stream


@cache
def _find_stream(device: torch.device) -> torch.cuda.Stream:
    """Return the one stream that records: cuBLAS keeps working memory for each."""
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
