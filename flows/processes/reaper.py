"""Ends what a process started once that process is gone, however it went: killed too, when it can end nothing itself.

Prefect starts its temporary server as a plain child, which outlives a flow that is killed and holds its port and its
database. A second process, at the other end of a pipe that only the first holds open, ends it then.
"""

import subprocess
import sys
from functools import cache
from pathlib import Path

import psutil


def tie_to_this_process(children: list[psutil.Process]) -> None:
    """Let a guard end `children` when this process is gone."""
    pipe = _start_guard().stdin
    if pipe is not None:
        for child in children:
            pipe.write(f"{child.pid}\n")
        pipe.flush()


@cache
def _start_guard() -> subprocess.Popen[str]:
    command = [sys.executable, "-P", str(Path(__file__))]
    return subprocess.Popen(command, stdin=subprocess.PIPE, text=True, start_new_session=True)


def main() -> None:
    """Read process ids until the writer is gone, then end those that still are the same processes."""
    watched = []
    for line in sys.stdin:
        if psutil.pid_exists(pid := int(line)):
            watched.append(psutil.Process(pid))
    for process in watched:
        if process.is_running():  # not another one that got its number since
            process.terminate()


if __name__ == "__main__":
    main()
