"""One process a GPU: a training that is started as one command becomes as many as the machine has GPUs.

torch's elastic launcher starts and watches them; started by a launcher already, or on one GPU or none, nothing happens.
COMPODIFF_TRAINING_PROCESSES says another number of processes, also where there is no GPU. On several nodes the same
command runs on each, with COMPODIFF_NODES, how many they are, and COMPODIFF_MEETING, HOST:PORT of one of them.

A process that is killed costs the work since the last checkpoint: all are started anew, and go on from there. On
several nodes the command ends on each, and whoever started it does so again: exit codes 75 and 6 say that this helps.
"""

import contextlib
import logging
import os
import signal
import sys
import tempfile
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from tqdm import tqdm

from compodiff.errors import CompoDiffError, InputInvalid, ProcessFailed, ResourceUnavailable, TrainingStopped

TRAININGS = ("train_prior", "train_composed", "distill", "finetune")  # stages that use every GPU of the machine
PROCESSES, NODES, MEETING = "COMPODIFF_TRAINING_PROCESSES", "COMPODIFF_NODES", "COMPODIFF_MEETING"
RESTARTS = 3  # of processes that were killed
SECONDS_TO_STOP = 90  # that a checkpoint may take after SIGTERM


def start_workers(arguments: Sequence[str], project: Path) -> bool:
    """Run `compodiff ARGUMENTS` in as many processes as should train together; return False where that is this one.

    Args:
        arguments: of the command.
        project: the folder to run in.

    Raises:
        InputInvalid: COMPODIFF_TRAINING_PROCESSES or COMPODIFF_NODES is no positive number, or nobody can meet.
        TrainingStopped, ResourceUnavailable, ProcessFailed: see `train_together`.
    """
    nodes = _read_count(NODES)
    count = count_processes()
    if "RANK" in os.environ or count * nodes == 1:
        return False
    where = "on this machine" if nodes == 1 else f"on each of {nodes} nodes"
    tqdm.write(f"training in {count} processes {where}, one for each GPU where there are any", file=sys.stderr)
    train_together(["-m", "compodiff.cli", *arguments], project, count, nodes)
    return True


def train_together(arguments: Sequence[str], project: Path, count: int, nodes: int = 1) -> None:
    """Run Python with `arguments` in `count` processes of this node, anew where one was killed, until all have ended.

    Raises:
        TrainingStopped: SIGTERM came, and there is a checkpoint to go on from.
        ResourceUnavailable: processes were killed again and again.
        ProcessFailed: a process failed; what it said stands above.
    """
    for restarts_left in reversed(range(RESTARTS + 1 if nodes == 1 else 1)):  # several nodes are begun anew together
        codes = _launch(arguments, project, count, nodes)
        if not codes:
            return
        killed_by = next((-code for code in codes if code < 0 and code != -signal.SIGTERM), None)
        if killed_by is None or not restarts_left:
            break
        said = f"a process of the training was killed by signal {killed_by}; all go on from the last checkpoint"
        tqdm.write(f"{said}, and {restarts_left - 1} times more", file=sys.stderr)
    raise _describe_end(codes, killed_by if nodes == 1 else None, count)


def _describe_end(codes: Collection[int], killed_by: int | None, count: int) -> CompoDiffError:
    """Return the error of a training whose processes ended with `codes`: the launcher ends others by SIGTERM."""
    if killed_by is not None:
        said = f"a process of {count} was killed {RESTARTS + 1} times, at last by signal {killed_by}"
        return ResourceUnavailable(f"{said}, perhaps for want of memory; run again, and it goes on from its checkpoint")
    own = [code for code in codes if code > 0 and code != TrainingStopped.exit_code]
    if own:
        return ProcessFailed(f"training in {count} processes ended with code {own[0]}; see the log", own[0])
    return TrainingStopped(
        "the training was told to stop, or lost a process; run it again, and it goes on from its last checkpoint"
    )


def count_processes() -> int:
    """Return how many processes train together on this machine: a GPU each, or as COMPODIFF_TRAINING_PROCESSES says.

    Raises:
        InputInvalid: that is no positive number.
    """
    if PROCESSES in os.environ:
        return _read_count(PROCESSES)
    from compodiff.execution.local import list_visible_gpus

    return max(1, len(list_visible_gpus()))


def _read_count(name: str) -> int:
    text = os.environ.get(name, "1")
    if not text.isdecimal() or int(text) < 1:
        kind = "nodes" if name == NODES else "processes"
        raise InputInvalid(f"{name} is {text!r}; set it to a number of {kind}, 1 or more")
    return int(text)


def _launch(arguments: Sequence[str], project: Path, count: int, nodes: int) -> Collection[int]:
    """Run Python with `arguments` in the processes of this node; return the exit codes of those that failed."""
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.elastic.rendezvous import RendezvousError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    meeting = os.environ.get(MEETING, "localhost:0")
    if nodes > 1 and MEETING not in os.environ:
        raise InputInvalid(f"{MEETING} is not set; set it to HOST:PORT of one of the {nodes} nodes, the same on each")
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # the processes share the cores
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(project), _silence_launcher():  # noqa: TID251  # empty
        config = LaunchConfig(
            min_nodes=nodes,
            max_nodes=nodes,
            nproc_per_node=count,
            run_id=f"compodiff-{meeting}",
            rdzv_backend="c10d",
            rdzv_endpoint=meeting,
            max_restarts=0,  # `train_together` does it, but not after errors that a restart cannot mend
            logs_specs=DefaultLogsSpecs(log_dir=folder),
            shutdown_timeout=SECONDS_TO_STOP,
        )
        try:
            elastic_launch(config, sys.executable)(*arguments)
        except ChildFailedError as error:
            return [failure.exitcode for failure in error.failures.values()]
        except SignalException:
            return [TrainingStopped.exit_code]
        except RendezvousError as error:
            said = f"the {nodes} nodes of the training do not meet at {meeting} ({type(error).__name__})"
            raise ResourceUnavailable(f"{said}; see if one has ended, and run it again on all of them") from error
    return []


@contextlib.contextmanager
def _silence_launcher() -> Iterator[None]:
    """Keep torch's launcher from saying in many lines what is said here in one."""
    names = [name for name in logging.root.manager.loggerDict if name.startswith("torch.distributed.elastic")]
    loggers = [logging.getLogger(name) for name in names]
    levels = [each.level for each in loggers]
    for each in loggers:
        each.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for each, level in zip(loggers, levels, strict=True):
            each.setLevel(level)
