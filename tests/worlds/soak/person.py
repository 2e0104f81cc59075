"""What people and clocks of the team do: schedules, new params and pictures, promotions, rollbacks, pushes."""

import json
import random
import re
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import yaml
from PIL import Image
from prefect.client.schemas.schedules import IntervalSchedule
from prefect.exceptions import ObjectNotFound
from prefect.states import Cancelled

from worlds.soak.team import Team

# Seconds between runs; infra/prefect.yaml: a day, a week, a day, a quarter of an hour.
SCHEDULES = {"dataset/nightly": 240, "training/weekly": 300, "champion/daily": 240, "index-refresh/watch": 120}
# Of the project's own dials `classes` decides nearly every answer in so small a world, and no training shows: 0.46 of
# recall at 10. The reference alone has 0.74, and that difference is beyond the gate's doubt.
_WEAK = {"composed": {"steps": 1, "learning_rate": 1.0e-6}}
_STRONG = {"steps": 60, "learning_rate": 3.0e-3}
_STRONG_DIALS = {"classes": None, "reference_mixing": 1.0}
_BETWEEN = (10.0, 30.0)
_BACK = re.compile(r"version (\d+) is champion again, instead of (\d+)")
_PROMOTED = re.compile(r"version (\d+) is champion now; before it: (\d+|none)")


@dataclass
class Person:
    """Acts until `stop`.

    `acknowledged` holds the rollbacks that a command said were made: reason -> from, to; `promoted` the promotions:
    from, to; `asked` the runs that Prefect said it has made.
    """

    team: Team
    seed: int
    acknowledged: dict[str, tuple[str, str]] = field(default_factory=dict)
    promoted: list[tuple[str, str]] = field(default_factory=list)
    asked: list[UUID] = field(default_factory=list)
    tried: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    trained: int = 0
    _stopping: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def set_weak_params(self) -> None:
        """Let the first champion be one that every later one beats."""
        self.team.change_params(_WEAK)

    def set_params(self) -> None:
        """Let the next model be one that beats the first, and another one than before."""
        self.trained += 1
        composed = _STRONG | {"seed": 100 * self.seed + self.trained}
        self.team.change_params({"composed": composed, "sampling": _STRONG_DIALS})

    def add_pictures(self, rng: random.Random) -> None:
        """Put pictures into the watched folder, a broken one among them, and take some out."""
        folder = self.team.project / "pictures"
        folder.mkdir(exist_ok=True)
        for _ in range(4):
            Image.frombytes("RGB", (8, 8), rng.randbytes(192)).resize((64, 64)).save(folder / f"{rng.random()}.png")
        (folder / f"{rng.random()} broken.png").write_bytes(rng.randbytes(200))
        rng.choice(sorted(folder.glob("*.png"))).unlink()

    def schedule(self) -> None:
        """Put the deployments on the soak's schedules instead of their own."""
        with self.team.prefect as client:
            for name, seconds in SCHEDULES.items():
                found = client.read_deployment_by_name(name)
                for each in client.read_deployment_schedules(found.id):
                    client.delete_deployment_schedule(found.id, each.id)
                every = IntervalSchedule(interval=timedelta(seconds=seconds))
                client.create_deployment_schedules(found.id, [(every, True)])

    def unschedule(self, *kept: str) -> None:
        """Take the schedules away, but those `kept`, with the runs that they planned; cancel what waits for its turn.

        On a busy machine that would be an hour's work.
        """
        with self.team.prefect as client:
            for name in SCHEDULES.keys() - set(kept):
                found = client.read_deployment_by_name(name)
                for each in client.read_deployment_schedules(found.id):
                    client.delete_deployment_schedule(found.id, each.id)
            spared = {client.read_deployment_by_name(name).id for name in kept}
            for run in self.team.list_flow_runs():
                if run.state is not None and run.state.is_scheduled() and run.deployment_id not in spared:
                    with suppress(ObjectNotFound):  # it went with its schedule
                        client.set_flow_run_state(run.id, Cancelled(message="no longer wanted"), force=True)

    def start(self) -> None:
        self._thread = threading.Thread(target=self._act, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()

    def ask(self, deployment: str, **parameters: Any) -> UUID | None:
        """Have a run made now; None where Prefect is away."""
        try:
            with self.team.prefect as client:
                found = client.read_deployment_by_name(deployment)
                made = client.create_flow_run_from_deployment(found.id, parameters=parameters).id
        except httpx.HTTPError:
            return None
        self.asked.append(made)
        return made

    def _act(self) -> None:
        rng = random.Random(self.seed + 1)
        acts: list[Callable[[random.Random], None]] = [
            self._train, self._train, self._train, self._roll_back, self._roll_back, self._roll_back_by_flow,
            self._promote, self.add_pictures, self._push, self._ask_for_promotion,
        ]  # fmt: skip
        first = [self._train]  # so that there is soon something to go back to
        while not self._stopping.wait(rng.uniform(*_BETWEEN)):
            try:
                (first.pop() if first else rng.choice(acts))(rng)
            except OSError as error:  # the disk is full, as for anybody
                self.said.append(f"a person saw: {error}")

    def _train(self, _: random.Random) -> None:
        self.set_params()
        self.ask("training/weekly")

    def _roll_back(self, _: random.Random) -> None:
        reason = self.make_reason()
        said = self._compodiff("rollback", "--reason", reason)
        if found := _BACK.search(said):
            self.acknowledged[reason] = (found[2], found[1])

    def _roll_back_by_flow(self, _: random.Random) -> None:
        self.ask("rollback/on-demand", reason=self.make_reason())

    def _promote(self, _: random.Random) -> None:
        if found := _PROMOTED.search(self._compodiff("promote")):
            self.promoted.append((found[2], found[1]))

    def _ask_for_promotion(self, _: random.Random) -> None:
        self.ask("promotion/on-demand")

    def _push(self, _: random.Random) -> None:
        self.team.run("dvc", "push", "--quiet")

    def make_reason(self) -> str:
        """Return a reason for a rollback that no other has."""
        self.tried.append(f"soak {self.seed} {len(self.tried)}")
        return self.tried[-1]

    def _compodiff(self, *words: str) -> str:
        done = self.team.run("compodiff", *words)
        self.said += (done.stdout + done.stderr).strip().splitlines()[-3:]
        return done.stdout


def list_gallery(project: Path) -> list[str]:
    """Return ids of pictures that are served."""
    gallery = project / "artifacts" / "index"
    import pandas as pd

    return [str(each) for each in pd.read_parquet(next(gallery.glob("*.parquet")))["picture_id"]]


def read_params(project: Path) -> dict[str, Any]:
    """Return what params.yaml holds."""
    content: dict[str, Any] = yaml.safe_load((project / "params.yaml").read_text())
    return content


def read_registration(project: Path) -> dict[str, str]:
    """Return which version the project registered last."""
    content: dict[str, str] = json.loads((project / "artifacts" / "registration.json").read_text())
    return content
