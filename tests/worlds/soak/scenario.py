"""The whole soak: a first run, the month, a quiet end, and what was found."""

import os
import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import httpx

from compodiff.drift.report import LEAST_QUERIES
from compodiff.drift.reservoir import read_kept_queries
from worlds.operated import wait_until
from worlds.soak import invariants
from worlds.soak.clients import Clients
from worlds.soak.person import Person, list_gallery
from worlds.soak.plan import plan_faults
from worlds.soak.services import wait_for
from worlds.soak.strikes import Outcome, Striker
from worlds.soak.team import Team, make_team

_RUN_SECONDS = 1500.0  # of a deployment that has to complete; minutes on a busy machine
_DAILY = ("champion/daily", "index-refresh/watch", "dataset/nightly", "drift/drift")
_FAULTS_PER_HOUR = 200  # in short soaks their number is chance
_PAUSE = 2.0  # between questions to Prefect, which would keep it busy
_KEPT_SECONDS = 180.0  # three times what `serve` lets pass between writing kept queries
_WATCH = "index-refresh/watch"
_QUIET_SECONDS = 600.0  # Prefect's lease, or what a run may take to start, 300; a turn of that schedule; their ends


@dataclass
class Report:
    """What a soak came to; `violations` is what must be empty."""

    seed: int
    violations: list[str] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        faults = Counter(each.fault.kind for each in self.outcomes)
        lines = [f"seed {self.seed}: {len(self.outcomes)} faults, {len(self.violations)} violations"]
        lines += [f"  {name}: {value}" for name, value in self.figures.items()]
        lines += [f"  {kind}: {number} times" for kind, number in sorted(faults.items())]
        return "\n".join([*lines, *(f"  VIOLATION {each}" for each in self.violations)])


def soak(data: Path, folder: Path, *, seed: int, seconds: float, say: Callable[[str], None]) -> Report:
    """Run a team for `seconds` in `folder`, over the catalogue in `data`; its faults are those of `seed`."""
    report = Report(seed)
    with make_team(data, folder) as team:
        person = Person(team, seed)
        say("the first run, without faults")
        _run_first(team, person)
        pictures = list_gallery(team.project)
        team.services["serve"].start()
        wait_until(team.services["serve"].answers, 240)
        clients, striker = Clients(team.address, pictures, seed), Striker(team, pictures, seed)
        person.schedule()
        clients.start()
        person.start()
        _strike(striker, report, seed, seconds, say)
        say("no more faults; what was begun ends")
        person.stop()
        _settle(team, person, report)
        clients.stop()
        _measure(team, clients, person, report)
        _check(team, clients, person, report, seconds)
    report.violations += invariants.check_ended()
    return report


def _run_first(team: Team, person: Person) -> None:
    """Train a weak champion, with pictures to watch, as nothing is there to compare with yet."""
    person.set_weak_params()
    person.add_pictures(random.Random(person.seed))
    worker = team.services["worker"].start()
    wait_until(worker.answers)
    _require_completed(team, person, "pipeline/on-demand")


def _require_completed(team: Team, person: Person, deployment: str, **parameters: Any) -> None:
    """Run a deployment to its end; it has to complete."""
    asked = person.ask(deployment, **parameters)
    assert asked is not None, f"{deployment} cannot be asked for"

    def has_ended() -> bool:
        with team.prefect as client:
            state = client.read_flow_run(asked).state
        return state is not None and state.is_final()

    assert wait_for(has_ended, _RUN_SECONDS, pause=_PAUSE) is not None, f"{deployment} did not end in time"
    with team.prefect as client:
        state = client.read_flow_run(asked).state
    assert state is not None
    assert state.is_completed(), f"{deployment}: {state.name}: {state.message}"


def _strike(striker: Striker, report: Report, seed: int, seconds: float, say: Callable[[str], None]) -> None:
    began, loads = time.monotonic(), list[float]()
    for fault in plan_faults(seed, seconds, striker.list_possible()):
        time.sleep(max(0.0, began + fault.at - time.monotonic()))
        if time.monotonic() > began + seconds:
            break
        report.outcomes.append(outcome := striker.strike(fault))
        say(f"{fault.at:6.0f} s  {fault.kind} for {fault.seconds:.0f} s: {outcome.target}; {outcome.recovered}")
        loads.append(os.getloadavg()[0])
    time.sleep(max(0.0, began + seconds - time.monotonic()))
    if loads:
        report.figures["load of the machine, median and highest"] = f"{median(loads):.1f}, {max(loads):.1f}"


def _settle(team: Team, person: Person, report: Report) -> None:
    """Let everything end that was begun, then run all of it once more without a fault."""
    person.unschedule(_WATCH)  # a run that never started is ended by the next flow, which comes by its schedule

    def is_quiet() -> bool:
        try:
            states = [run.state for run in team.list_flow_runs()]
        except httpx.HTTPError:
            return False
        return all(state is None or state.is_final() or state.is_scheduled() for state in states)

    waited = wait_for(is_quiet, _QUIET_SECONDS, pause=_PAUSE)
    person.unschedule()
    report.figures["seconds until nothing ran any more"] = waited
    person.set_params()
    why = {"rollback/on-demand": {"reason": person.make_reason()}}
    for deployment in ("training/weekly", *why, *_DAILY):
        if deployment == "drift/drift":  # of a champion that has just changed, few queries are kept
            wait_for(lambda: _are_queries_kept(team), _KEPT_SECONDS, pause=_PAUSE)
        try:
            _require_completed(team, person, deployment, **why.get(deployment, {}))
        except AssertionError as error:
            report.violations.append(f"after the faults: {error}")


def _are_queries_kept(team: Team) -> bool:
    """Return whether `serve` has written down as many queries of its model as a look for drift needs."""
    kept = team.project / "queries.npz"
    return kept.is_file() and len(read_kept_queries(kept).answers) >= LEAST_QUERIES


def _measure(team: Team, clients: Clients, person: Person, report: Report) -> None:
    answered = Counter(each.status for each in clients.replies)
    report.figures["searches by status"] = dict(answered)
    report.figures["95 % of searches within, seconds"] = round(invariants.find_slow(clients.replies), 2)
    report.figures["trainings asked for"] = person.trained
    report.figures["rollbacks tried, acknowledged"] = (len(person.tried), len(person.acknowledged))
    for name, service in team.services.items():
        grown = invariants.measure_growth(service)
        said = f"{100 * grown[0]:+.1f} % in {grown[1]:.0f} s, {grown[2]:+d} descriptors" if grown else "lived too short"
        report.figures[f"memory of {name}"] = said
    recovered = [each.recovered for each in report.outcomes if each.recovered is not None]
    report.figures["slowest recovery, seconds"] = round(max(recovered, default=0.0), 1)
    ends = Counter((run.name.split(",")[0], run.state_name) for run in team.list_flow_runs())
    report.figures["flow runs"] = {f"{name}: {state}": number for (name, state), number in sorted(ends.items())}


def _check(team: Team, clients: Clients, person: Person, report: Report, seconds: float) -> None:
    hours = seconds / 3600
    if hours >= 1 and len(report.outcomes) < _FAULTS_PER_HOUR * hours:
        report.violations.append(f"{len(report.outcomes)} faults in {seconds:.0f} s are too few")
    report.violations += invariants.check_serving(clients.replies, team.services["serve"], report.outcomes)
    report.violations += invariants.check_memory(team, seconds)
    report.violations += invariants.check_registry(team, person)
    changes = invariants.count_changes(team)
    report.figures["decisions: another champion, a refusal, a rollback"] = changes
    if 0 in (changes["promoted"], changes["rolled back"]):
        report.violations.append(f"no promotion over a champion, or no rollback: {changes}")
    report.violations += invariants.check_flows(team, person)
    report.violations += invariants.check_stores(team)
    report.violations += invariants.check_left_over(team)
