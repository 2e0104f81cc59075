"""One process a GPU: a training that is started as one command becomes as many as the machine has GPUs.

torchrun's launcher does it, as a child process; started by torchrun already, or on one GPU or none, nothing happens.
COMPODIFF_TRAINING_PROCESSES says another number, also where there is no GPU.
"""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from compodiff.errors import InputInvalid, ResourceUnavailable

PROCESSES = "COMPODIFF_TRAINING_PROCESSES"


def start_workers(arguments: Sequence[str], project: Path) -> bool:
    """Run `compodiff ARGUMENTS` in as many processes as should train together; return False where that is this one.

    Args:
        arguments: of the command.
        project: the folder to run in.

    Raises:
        InputInvalid: COMPODIFF_TRAINING_PROCESSES is no positive number.
        ResourceUnavailable: a process failed; what it said stands above.
    """
    count = count_processes()
    if "RANK" in os.environ or count == 1:
        return False
    tqdm.write(f"training in {count} processes on this machine, one for each GPU where there are any", file=sys.stderr)
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={count}"]
    ended = subprocess.run([*launcher, "-m", "compodiff.cli", *arguments], cwd=project, check=False)
    if ended.returncode:
        raise ResourceUnavailable(f"training in {count} processes ended with code {ended.returncode}; see the log")
    return True


def count_processes() -> int:
    """Return how many processes train together on this machine: a GPU each, or as COMPODIFF_TRAINING_PROCESSES says.

    Raises:
        InputInvalid: that is no positive number.
    """
    text = os.environ.get(PROCESSES)
    if text is None:
        from compodiff.execution.local import list_visible_gpus

        return max(1, len(list_visible_gpus()))
    if not text.isdecimal() or int(text) < 1:
        raise InputInvalid(f"{PROCESSES} is {text!r}; set it to a number of processes, 1 or more")
    return int(text)
