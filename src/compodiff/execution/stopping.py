"""SIGTERM as a wish to stop that is looked at when it suits, instead of an end in the middle."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class StopRequest:
    """Whether this process was told to stop."""

    def __init__(self) -> None:
        self.came = False


@contextmanager
def await_stop() -> Iterator[StopRequest]:
    """Note SIGTERM instead of dying of it, within the block; elsewhere than in the main thread nothing comes."""
    request = StopRequest()

    def note(_number: int, _frame: FrameType | None) -> None:
        request.came = True

    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    before = signal.signal(signal.SIGTERM, note)
    try:
        yield request
    finally:
        signal.signal(signal.SIGTERM, before)
