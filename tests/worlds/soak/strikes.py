"""How each kind of fault of the plan is done to the team's processes, and how long it takes to recover from it."""

import os
import random
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil

from worlds.soak.plan import Fault
from worlds.soak.services import wait_for
from worlds.soak.team import MARK, Team

RECOVERY_SECONDS = 60.0
_PATIENCE = 300.0
_PAUSE = 0.25  # of a database that is slow: as long as it works


@dataclass(frozen=True)
class Outcome:
    """A fault that was done: to what, and after how many seconds all servers answered again (None: they did not)."""

    fault: Fault
    target: str
    recovered: float | None


class Striker:
    """Does faults, one at a time; which process of several is the seed's choice."""

    def __init__(self, team: Team, pictures: list[str], seed: int) -> None:
        self._team, self._pictures = team, pictures
        self._rng = random.Random(seed)

    def list_possible(self) -> list[str]:
        """Return the kinds that this machine allows."""
        team = self._team
        needs = {
            "restart database": team.database is not None,
            "slow database": team.database is not None,
            "cut network": team.network is not None,
            "full disk": team.has_disk,
            "clock an hour behind": Path("/usr/bin/faketime").is_file(),
            "clock a day ahead": Path("/usr/bin/faketime").is_file(),
        }
        return [kind for kind in self._strikes if needs.get(kind, True)]

    @property
    def _strikes(self) -> dict[str, Callable[[float], str]]:
        kills = {f"kill {name}": self._kill_service(name) for name in ("worker", "serve", "mlflow", "prefect")}
        return kills | {
            "kill flow": lambda _: self._kill_marked("prefect.engine", "prefect.flow_engine", "flow-run"),
            "kill stage": lambda _: self._kill_marked("compodiff run", "compodiff index", "compodiff benchmark"),
            "restart database": self._restart_database,
            "slow database": self._slow_database,
            "hang mlflow": self._hang_mlflow,
            "cut network": self._cut_network,
            "full disk": self._fill_disk,
            "clock an hour behind": lambda _: self._decide_by_clock("-1h"),
            "clock a day ahead": lambda _: self._decide_by_clock("+1d"),
        }

    def strike(self, fault: Fault) -> Outcome:
        """Do a fault and wait until all servers answer and a search is answered."""
        target = self._strikes[fault.kind](fault.seconds)
        return Outcome(fault, target, wait_for(self.is_well, _PATIENCE))

    def is_well(self) -> bool:
        """Return whether every server answers, and a search."""
        if not all(each.answers() for each in self._team.services.values()):
            return False
        asked = {"reference_id": self._pictures[0], "text": "in blue", "k": "1"}
        try:
            return httpx.post(f"{self._team.address}/search", data=asked, timeout=10).status_code == 200
        except httpx.HTTPError:
            return False

    def _kill_service(self, name: str) -> Callable[[float], str]:
        def kill(_: float) -> str:
            self._team.services[name].kill()
            return name

        return kill

    def _kill_marked(self, *words: str) -> str:
        found = [each for each in find_marked() if any(word in " ".join(_command(each)) for word in words)]
        if not found:
            return "none runs"
        chosen = self._rng.choice(sorted(found, key=lambda each: each.pid))
        command = " ".join(_command(chosen))[-80:]
        chosen.kill()
        return command

    def _restart_database(self, seconds: float) -> str:
        self._team.database.stop()
        time.sleep(seconds)
        self._team.database.start()
        return "postgres"

    def _slow_database(self, seconds: float) -> str:
        """Let PostgreSQL work half of the time only, as on a disk that is busy."""
        pid = int((self._team.database.folder / "data" / "postmaster.pid").read_text().split()[0])
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            everything = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
            for sent in (signal.SIGSTOP, signal.SIGCONT):
                for process in everything:
                    if process.is_running():
                        process.send_signal(sent)
                time.sleep(_PAUSE)
        return "postgres"

    def _hang_mlflow(self, seconds: float) -> str:
        stopped = self._team.services["mlflow"].find_processes()
        for sent, wait in ((signal.SIGSTOP, seconds), (signal.SIGCONT, 0)):
            for process in stopped:
                if process.is_running():
                    process.send_signal(sent)
            time.sleep(wait)
        return "mlflow"

    def _cut_network(self, seconds: float) -> str:
        self._team.network.cut()
        try:
            time.sleep(seconds)
        finally:
            self._team.network.mend()
        return "mlflow's network"

    def _fill_disk(self, seconds: float) -> str:
        filler = self._team.project.parent / "filler"
        try:
            with filler.open("wb") as file:
                until = time.monotonic() + seconds
                while time.monotonic() < until:  # what others free meanwhile is taken as well
                    free = os.statvfs(filler).f_bavail * os.statvfs(filler).f_frsize
                    with suppress(OSError):  # another was faster
                        os.posix_fallocate(file.fileno(), os.fstat(file.fileno()).st_size, max(free, 1))
                    time.sleep(0.05)
        finally:
            filler.unlink()
        return "disk of the project"

    def _decide_by_clock(self, shift: str) -> str:
        """Put the challenger to the gate on a machine whose clock is wrong."""
        done = self._team.run("faketime", "-f", shift, "compodiff", "promote")
        said = (done.stdout + done.stderr).strip().splitlines()
        assert "Traceback" not in done.stderr, done.stderr
        return f"promote: exit code {done.returncode}: {said[-1] if said else ''}"


def find_marked() -> list[psutil.Process]:
    """Return every process that the soak started, or that those started."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK) == str(os.getpid()):
                found.append(process)
        except psutil.Error:
            continue
    return found


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []
