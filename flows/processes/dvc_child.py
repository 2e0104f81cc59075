"""DVC in a process that never outlives the flow that started it: python dvc_child.py FLOW-PID ARGUMENTS-OF-DVC.

When the flow is gone (killed, cancelled, out of time) this process is told to stop, and ends the stage that it runs;
DVC then fails and releases its locks in good order. Else a stage nobody waits for would write on beside its successor.
"""

import io
import json
import os
import signal
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from types import FrameType

import psutil

_SECONDS_BETWEEN_LOOKS = 0.2
_SECONDS_TO_WRITE = 60.0


def main() -> int:
    """Run DVC with the arguments after the first, the flow's process id, and return its exit code."""
    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, _stop)
    flow = int(sys.argv[1])
    if os.getppid() != flow:  # it is gone already
        return 1
    threading.Thread(target=_stop_after, args=(flow,), daemon=True).start()
    _remove_torn_lock_file(Path(".dvc", "tmp"))
    _remove_unfinished(Path(".dvc", "cache", "runs"))
    # DVC draws no bars of its own where stderr is no terminal; its stages write to the descriptor, which is one.
    sys.stderr = _NoTerminal(sys.stderr.buffer, line_buffering=True)
    from dvc.cli import main as dvc

    return int(dvc(sys.argv[2:]))


def _stop(_signal: int, _frame: FrameType | None) -> None:
    """End whatever DVC runs, now and from now on, but not DVC itself, which halfway through leaves files torn."""
    threading.Thread(target=_kill_children, daemon=True).start()


def _stop_after(flow: int) -> None:
    """Wait until the flow is gone; this process then has another parent, on Linux and on macOS."""
    while os.getppid() == flow:
        time.sleep(_SECONDS_BETWEEN_LOOKS)
    _kill_children()


def _kill_children() -> None:
    while True:
        for child in psutil.Process().children(recursive=True):
            child.terminate()
        time.sleep(_SECONDS_BETWEEN_LOOKS)


def _remove_torn_lock_file(folder: Path) -> None:
    """Remove DVC's list of who reads and writes what where a kill left it half-written; DVC itself would stop at it."""
    from dvc.lock import make_lock

    path = folder / "rwlock"
    if not path.exists():
        return
    with make_lock(str(folder / "rwlock.lock"), wait=True):
        try:
            json.loads(path.read_text(encoding="utf-8"))
        except ValueError:
            path.unlink()


def _remove_unfinished(runs: Path) -> None:
    """Remove what a kill left of an entry of DVC's cache of runs, which DVC writes within a moment and renames."""
    for path in runs.glob("*/*/.*.tmp"):
        with suppress(OSError):  # another was faster, or it is somebody else's
            if time.time() - path.stat().st_mtime > _SECONDS_TO_WRITE:
                path.unlink()


class _NoTerminal(io.TextIOWrapper):
    def isatty(self) -> bool:
        return False


if __name__ == "__main__":
    sys.exit(main())
