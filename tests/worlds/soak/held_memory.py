"""Prefect's command line, which gives memory that it has freed back to the system at once: what it has, it holds.

glibc keeps freed memory for later. With that, a worker of Prefect grows by a fifth over its first thirty runs and then
no more, though it holds as many objects as after the sixth: docs/faults.md. Elsewhere than on glibc nothing is done.
"""

import ctypes
import gc
import sys
import threading
import time

_BETWEEN = 10.0  # seconds


def main() -> None:
    """Run `prefect ARGUMENTS`."""
    from prefect.cli import app

    threading.Thread(target=_give_back_often, daemon=True).start()
    app()


def give_back() -> None:
    """Return to the system what nothing holds any more."""
    gc.collect()
    if trim := getattr(ctypes.CDLL(None), "malloc_trim", None):
        trim(0)


def _give_back_often() -> None:
    while True:
        time.sleep(_BETWEEN)
        give_back()


if __name__ == "__main__":
    sys.exit(main())
