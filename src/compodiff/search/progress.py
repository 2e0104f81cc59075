"""Where the time of a query goes, and how far it has come."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class SearchProgress:
    """A phase that has begun (done 0), or a network call of it that is finished."""

    phase: str
    done: int = 0


Listener = Callable[[SearchProgress], None]
StepListener = Callable[[Tensor, Tensor], None]


class PhaseTimer:
    """Adds up seconds by phase ("encode", "sample", "search") and tells a listener what begins and what is done."""

    def __init__(self, listener: Listener | None = None, on_step: StepListener | None = None) -> None:
        self.seconds: dict[str, float] = {}
        self._listener, self._on_step = listener, on_step
        self._phase, self._done = "", 0

    @contextmanager
    def time_phase(self, name: str) -> Iterator[None]:
        """Count the time of the block towards `name`."""
        self._phase, self._done = name, 0
        self._tell()
        started = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - started

    def step(self, x_t: Tensor, x0: Tensor) -> None:
        """Count one network call of the current phase as finished; (B * S, D): what it was given, and its estimate."""
        self._done += 1
        if self._on_step is not None:
            self._on_step(x_t, x0)
        self._tell()

    def _tell(self) -> None:
        if self._listener is not None:
            self._listener(SearchProgress(self._phase, self._done))
