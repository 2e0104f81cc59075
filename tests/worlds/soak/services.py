"""Processes that are started again when they end, as `restart: unless-stopped` of infra/compose.yaml does."""

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psutil

_BEFORE_RESTART = 1.0
_BETWEEN_SAMPLES = 5.0


@dataclass(frozen=True)
class Sample:
    """One look at a process."""

    at: float
    pid: int
    memory: int
    descriptors: int


@dataclass
class Service:
    """A process that is kept running until `stop`; `away` holds from when to when it did not answer."""

    name: str
    command: Sequence[str]
    env: Mapping[str, str]
    folder: Path
    health: str  # an address; "" where there is none to ask
    away: list[list[float]] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    process: subprocess.Popen[bytes] | None = None
    _stopping: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    @property
    def log(self) -> Path:
        return self.folder.parent / f"{self.name}.log"

    def start(self) -> "Service":
        self._threads = [threading.Thread(target=each, daemon=True) for each in (self._keep, self._watch)]
        for thread in self._threads:
            thread.start()
        return self

    def answers(self) -> bool:
        if self.process is None or self.process.poll() is not None:
            return False
        if not self.health:
            return True
        try:
            return httpx.get(self.health, timeout=5).status_code == 200
        except httpx.HTTPError:
            return False

    def kill(self) -> None:
        """Kill the process alone, as the kernel does when memory is short; its children see to themselves."""
        self.away.append([time.monotonic(), float("inf")])
        if self.process is not None:
            self.process.kill()

    def find_processes(self) -> list[psutil.Process]:
        if self.process is None or self.process.poll() is not None:
            return []
        own = psutil.Process(self.process.pid)
        return [own, *own.children(recursive=True)]

    def stop(self) -> None:
        self._stopping.set()
        everything = self.find_processes()
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        psutil.wait_procs(everything, timeout=20)
        for process in everything:
            if process.is_running():
                process.kill()
        for thread in self._threads:
            thread.join()

    def _keep(self) -> None:
        while not self._stopping.is_set():
            since = time.monotonic()
            if not self.away or self.away[-1][1] != float("inf"):
                self.away.append([since, float("inf")])
            with self.log.open("ab") as log:
                self.process = subprocess.Popen(
                    self.command, cwd=self.folder, env=self.env, stdout=log, stderr=log, start_new_session=True
                )
            while self.process.poll() is None and not self.answers() and not self._stopping.is_set():
                time.sleep(0.2)
            self.away[-1][1] = time.monotonic()
            self.process.wait()
            self._end_orphans()
            self._stopping.wait(_BEFORE_RESTART)

    def _end_orphans(self) -> None:
        """End what the process left in its session where a restart needs the port; a container ends it too."""
        if self.name == "worker":  # whose flows go on without it
            return
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)

    def _watch(self) -> None:
        while not self._stopping.wait(_BETWEEN_SAMPLES):
            try:
                own = psutil.Process(self.process.pid)
                everything = [own] if self.name == "worker" else [own, *own.children(recursive=True)]
                memory = sum(each.memory_info().rss for each in everything)
                self.samples.append(Sample(time.monotonic(), own.pid, memory, own.num_fds()))
            except (psutil.Error, AttributeError):
                continue


def wait_for(condition: Callable[[], bool], seconds: float, *, pause: float = 0.2) -> float | None:
    """Return after how many seconds `condition` held, or None where it did not within `seconds`."""
    began = time.monotonic()
    while time.monotonic() - began < seconds:
        if condition():
            return time.monotonic() - began
        time.sleep(pause)
    return None
