"""DVC in a process that never outlives the flow that started it: python dvc_child.py FLOW-PID ARGUMENTS-OF-DVC.

When the flow is gone (killed, cancelled, out of time) this process is told to stop, and takes the stage that it runs
with it; DVC then releases its locks in good order. Else a stage nobody waits for would write on beside its successor.
"""

import ctypes
import io
import os
import signal
import sys
from types import FrameType

import psutil

_PR_SET_PDEATHSIG = 1


def main() -> int:
    """Run DVC with the arguments after the first, the flow's process id, and return its exit code."""
    signal.signal(signal.SIGTERM, _stop_stage)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != int(sys.argv[1]):  # the flow was gone before the line above
        return 1
    # DVC draws no bars of its own where stderr is no terminal; its stages write to the descriptor, which is one.
    sys.stderr = _NoTerminal(sys.stderr.buffer, line_buffering=True)
    from dvc.cli import main as dvc

    return int(dvc(sys.argv[2:]))


class _NoTerminal(io.TextIOWrapper):
    def isatty(self) -> bool:
        return False


def _stop_stage(_signal: int, _frame: FrameType | None) -> None:
    children = psutil.Process().children(recursive=True)
    for child in children:
        child.terminate()
    if not children:
        sys.exit(128 + signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main())
