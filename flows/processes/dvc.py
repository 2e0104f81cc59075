"""DVC as a flow uses it: its graph, and its commands as child processes whose output is followed line by line."""

import os
import pty
import re
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from compodiff.watching.tracing import carry_trace

_CHILD = Path(__file__).with_name("dvc_child.py")
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_SECONDS_BETWEEN_PROGRESS = 15.0
_ADVICE = ("To track the changes", "git add ", "To enable auto staging", "dvc config core.autostage", "Use `dvc push`")


_running: set[subprocess.Popen[bytes]] = set()
_asking = threading.Lock()  # DVC refuses who finds its lock taken
stopping = threading.Event()  # set where the flow is being cancelled: nothing more is to be started


@dataclass(frozen=True)
class CommandResult:
    """How a command of DVC ended; `timed_out` says that it was stopped for taking too long."""

    code: int
    lines: tuple[str, ...]
    timed_out: bool

    @property
    def reason(self) -> str:
        """The error line of compodiff, else that of DVC, else the last line."""
        for mark in ("compodiff: ", "ERROR: "):
            for line in reversed(self.lines):
                if mark in line:  # not always at its start: a progress bar ends without a line's end
                    return line.partition(mark)[2]
        return self.lines[-1] if self.lines else f"ended with code {self.code}"

    @property
    def stage_code(self) -> int | None:
        """The exit code of the stage that DVC ran and that failed."""
        codes = re.findall(r"exited with (-?\d+)", "\n".join(self.lines))
        return int(codes[-1]) if codes else None


def read_stage_graph(project: Path) -> dict[str, list[str]]:
    """Return each stage of dvc.yaml with the stages that it needs, those first that need none."""
    import networkx
    from dvc.repo import Repo

    with Repo(str(project)) as repo:
        graph = repo.index.graph  # an edge leads from a stage to one that it needs
        order = networkx.lexicographical_topological_sort(graph.reverse(), key=lambda stage: stage.addressing)
        stages = [stage for stage in order if stage.cmd]  # data.dvc is a node without a command
        return {
            stage.addressing: sorted(needed.addressing for needed in graph.successors(stage) if needed.cmd)
            for stage in stages
        }


def is_up_to_date(project: Path, stage: str) -> bool:
    """Return whether `dvc repro` would skip a stage, asked without starting DVC, which takes a second.

    False also where DVC cannot say, because another command of it writes just now: its own process then waits.
    """
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    try:
        with _asking, Repo(str(project)) as repo, repo.lock:
            (found,) = repo.stage.collect(stage)
            return not found.changed()
    except DvcException:
        return False


def list_changes(project: Path, stage: str) -> list[str]:
    """Return what `dvc status` names as changed of a stage: paths, params; nothing where DVC cannot say just now."""
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    try:
        with _asking, Repo(str(project)) as repo, repo.lock:
            (found,) = repo.stage.collect(stage)
            said = found.status().get(found.addressing, [])
    except DvcException:
        return []
    changes: list[str] = []
    for entry in said:
        if isinstance(entry, str):  # such as: changed command
            changes.append(entry)
            continue
        for changed in entry.values():
            for path, how in changed.items():
                changes += how if isinstance(how, dict) else [path]
    return changes


def compare_data(project: Path) -> Literal["absent", "other", "new", "recorded"]:
    """Compare data/ with data.dvc: not there, other bytes, the right bytes but not in DVC's cache yet, or all well."""
    from dvc.repo import Repo

    with Repo(str(project)) as repo:
        (data,) = repo.stage.load_one("data.dvc").outs
        if not data.exists:
            return "absent"
        if data.changed_checksum():
            return "other"
        return "new" if data.changed_cache() else "recorded"


def has_remote(project: Path) -> bool:
    """Return whether DVC knows a remote to pull from."""
    from dvc.repo import Repo

    with Repo(str(project)) as repo:
        return bool(repo.config["core"].get("remote"))


def run_dvc(arguments: list[str], follow: Callable[[str], None], *, limit_seconds: float) -> CommandResult:
    """Run `dvc ARGUMENTS` in the current folder; out of time, its stage is stopped with it (see `run_followed`)."""
    command = [sys.executable, "-P", str(_CHILD), str(os.getpid()), "--wait-for-lock", *arguments]

    def follow_all_but_advice(line: str) -> None:
        if not line.startswith(_ADVICE):
            follow(line)

    return run_followed(command, follow_all_but_advice, limit_seconds=limit_seconds)


def run_followed(command: list[str], follow: Callable[[str], None], *, limit_seconds: float) -> CommandResult:
    """Run a command as if in a terminal, so that it shows its progress.

    Args:
        command: program and arguments.
        follow: told each line of output; of a progress bar, one line in fifteen seconds.
        limit_seconds: time after which it is told to stop.
    """
    if stopping.is_set():
        return CommandResult(1, ("the flow was stopped",), timed_out=False)
    terminal, end = pty.openpty()
    termios.tcsetwinsize(end, (24, 110))  # of a terminal without a width, no bar is drawn
    environment = carry_trace({**os.environ, "NO_COLOR": "1"})
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=end, stderr=end, env=environment)
    os.close(end)
    _running.add(process)
    late = threading.Timer(limit_seconds, process.terminate)
    late.start()
    lines: list[str] = []
    try:
        for line in _read_lines(terminal):
            lines.append(line)
            follow(line)
        code = process.wait()
    finally:
        timed_out = not late.is_alive()
        late.cancel()
        _running.discard(process)
        os.close(terminal)
    return CommandResult(code, tuple(lines), timed_out)


def stop_running() -> None:
    """Tell every command that runs to stop, wait until it has, and let none be started."""
    stopping.set()
    for process in (stopped := list(_running)):
        process.terminate()
    for process in stopped:
        process.wait()


def _read_lines(terminal: int) -> Iterator[str]:
    """Yield finished lines, and now and then the state of a progress bar (which returns to the line's start)."""
    buffer, shown = "", time.monotonic()
    while chunk := _read(terminal):
        buffer += _ESCAPES.sub("", chunk).replace("\r\n", "\n")
        *parts, buffer = re.split(r"(?<=[\r\n])", buffer)
        for part in parts:
            is_bar, text = part.endswith("\r"), part.strip()
            if text and not (is_bar and time.monotonic() - shown < _SECONDS_BETWEEN_PROGRESS):
                shown = time.monotonic() if is_bar else shown
                yield text
    if buffer.strip():
        yield buffer.strip()


def _read(terminal: int) -> str:
    try:
        return os.read(terminal, 65536).decode(errors="replace")
    except OSError:  # how Linux says that nobody writes to a terminal any more
        return ""
