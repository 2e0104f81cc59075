"""What must hold after a soak, each as one line for each place where it does not."""

import csv
import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median

import psutil
from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion

from compodiff.tracking.decision_log import DECISIONS, PROMOTED, REFUSED, ROLLED_BACK
from worlds.soak.clients import Reply
from worlds.soak.person import Person
from worlds.soak.services import Sample, Service
from worlds.soak.strikes import RECOVERY_SECONDS, Outcome, find_marked
from worlds.soak.team import Team

GROWTH = 0.05
SLOWEST = 2.0  # seconds, of 95 in 100 searches
_WARM_SECONDS = 120.0
_COMPARABLE_SECONDS = 600.0
_LEFT_OVER = re.compile(r"\.(partial|retired|tmp)\b|\.new$|\.unlocked")


def check_registry(team: Team, person: Person) -> Iterator[str]:
    """One champion; each acknowledged decision is there, a rollback once; no run is left running, no metric lost."""
    client = MlflowClient(team.variables["MLFLOW_TRACKING_URI"])
    decisions = _list_decisions(client)
    counting = _select_counting(decisions)
    champion = counting[-1].tags["to"] if counting else "none"
    found = client.get_registered_model("compodiff").aliases.get("champion")
    if found != champion:
        yield f"the alias champion stands for version {found}, the decisions say {champion}"
    reasons = Counter(each.tags["reasons"] for each in decisions if each.tags["after"] != "")
    for reason, (before, after) in person.acknowledged.items():
        told = [(each.tags["from"], each.tags["to"]) for each in decisions if each.tags["reasons"] == reason]
        if (before, after) not in told:
            yield f"rollback {reason!r} from {before} to {after} was acknowledged, and is not decided: {told}"
    for reason in person.tried:
        if reasons[reason] > 1:
            yield f"rollback {reason!r} was decided {reasons[reason]} times"
    told_promotions = [(each.tags["from"], each.tags["to"]) for each in decisions if each.tags["verdict"] == PROMOTED]
    for before, after in person.promoted:
        if (before, after) not in told_promotions:
            yield f"the promotion from {before} to {after} was acknowledged, and is not decided"
    yield from _check_runs(client, team)


def count_changes(team: Team) -> dict[str, int]:
    """Return how many decisions made another one champion, refused to, or went back; the first champion is none."""
    decisions = _select_counting(_list_decisions(MlflowClient(team.variables["MLFLOW_TRACKING_URI"])))
    found = Counter(each.tags["verdict"] for each in decisions if each.tags["from"] != "none")
    return {verdict: found[verdict] for verdict in (PROMOTED, REFUSED, ROLLED_BACK)}


def _list_decisions(client: MlflowClient) -> list[ModelVersion]:
    """Return all decisions, of which MLflow gives a page at a time, in their order."""
    found, token = [], None
    while True:
        page = client.search_model_versions(f"name = '{DECISIONS}'", page_token=token)
        found += page
        token = page.token
        if not token:
            return sorted(found, key=lambda each: int(each.version))


def _select_counting(decisions: Sequence[ModelVersion]) -> list[ModelVersion]:
    """Leave out what was decided after a decision that another one was made after already."""
    counting: list[ModelVersion] = []
    for each in decisions:
        if int(each.tags["after"]) == (int(counting[-1].version) if counting else 0):
            counting.append(each)
    return counting


def _check_runs(client: MlflowClient, team: Team) -> Iterator[str]:
    experiment = client.get_experiment_by_name("compodiff").experiment_id
    runs, token = [], None
    while True:
        page = client.search_runs([experiment], page_token=token)
        runs += page
        token = page.token
        if not token:
            break
    for run in runs:
        name, run_id, status = run.info.run_name, run.info.run_id, run.info.status
        if status == "RUNNING":
            yield f"run {name} {run_id} is left RUNNING"
        if status == "FINISHED" and name.startswith("train_"):
            for curve in (each.path for each in client.list_artifacts(run_id) if each.path.endswith(".csv")):
                with Path(client.download_artifacts(run_id, curve, str(team.folder))).open() as file:
                    wanted = {int(row["step"]) for row in csv.DictReader(file)}
                told = {point.step for point in client.get_metric_history(run_id, "loss")}
                if not wanted or wanted - told:
                    yield f"run {name} {run_id} has lost the metrics of steps {sorted(wanted - told)}"
    undelivered = team.project / "mlruns" / "undelivered"
    for path in undelivered.glob("*"):
        yield f"{path.name} is still undelivered"


def check_flows(team: Team, person: Person) -> Iterator[str]:
    """No run of Prefect is under way when nothing is, and none that was made is lost."""
    runs = team.list_flow_runs()
    for run in runs:
        if run.state is not None and not run.state.is_final():
            yield f"flow run {run.name} is left {run.state.name}"
    for lost in set(person.asked) - {run.id for run in runs}:
        yield f"flow run {lost} was made, and Prefect does not know it"


def check_left_over(team: Team) -> Iterator[str]:
    """No half-written file, no process that nobody waits for."""
    for path in sorted(team.project.rglob("*")):
        inside = path.relative_to(team.project)
        if inside.parts[:2] != (".dvc", "tmp") and inside.parts[0] != ".prefect" and _LEFT_OVER.search(path.name):
            yield f"{inside} is left over"
    temporary = team.project.parent / "tmp"
    for path in sorted(temporary.iterdir()):
        size = sum(each.stat().st_size for each in path.rglob("*") if each.is_file()) + path.stat().st_size
        if size > 100_000:
            yield f"{path.name} of {size:,} bytes is left in the folder for temporary files"
    kept = {each.pid for service in team.services.values() for each in service.find_processes()}
    for process in find_marked():
        if process.pid not in kept and process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
            yield f"process {process.pid} is left: {' '.join(process.cmdline())[:150]}"


def check_stores(team: Team) -> Iterator[str]:
    """DVC's cache holds what its names say, and the remote all that the project needs, whole."""
    cache = team.project / ".dvc" / "cache" / "files" / "md5"
    yield from (f"{path} of DVC's cache is not what its name says" for path in _find_damaged(cache))
    for words in (("dvc", "push"), ("python", "-m", "flows.processes.mend_remote")):
        done = team.run(*words)
        if done.returncode or ("mend" in words[-1] and ", 0 put back" not in done.stdout):
            yield f"{' '.join(words)}: {done.stdout[-300:]}{done.stderr[-300:]}"
    done = team.run("dvc", "status")
    if "up to date" not in done.stdout:
        yield f"dvc status after a whole run: {done.stdout[-300:]}{done.stderr[-300:]}"


def _find_damaged(cache: Path) -> Iterator[Path]:
    import hashlib

    for path in cache.rglob("*"):
        if path.is_file() and re.fullmatch(r"[0-9a-f]{30}(\.dir)?", path.name):
            digest = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
            if path.parent.name + path.name.removesuffix(".dir") != digest:
                yield path


def check_serving(replies: Sequence[Reply], serve: Service, outcomes: Sequence[Outcome]) -> Iterator[str]:
    """No 5xx and no refusal but while the server was away, few slow answers; all servers came back after each fault."""
    for each in replies:
        ended = each.at + each.seconds
        away = any(since - 1 <= ended and each.at <= until + 1 for since, until in serve.away)
        if not away and (each.status == 0 or each.status >= 500):
            yield f"a search got {each.status} after {each.seconds:.1f} s while the server was up: {each.model}"
    if not find_slow(replies) < SLOWEST:  # nor where none was answered
        yield f"95 % of searches were answered within {find_slow(replies):.2f} s"
    for outcome in outcomes:
        if outcome.recovered is None or outcome.recovered > RECOVERY_SECONDS:
            yield f"{outcome.fault.kind} ({outcome.target}): recovered after {outcome.recovered} s"


def find_slow(replies: Sequence[Reply]) -> float:
    """Return what 95 of 100 answered searches took at most."""
    seconds = sorted(each.seconds for each in replies if each.status == 200)
    return seconds[int(0.95 * (len(seconds) - 1))] if seconds else float("nan")


def measure_growth(service: Service) -> tuple[float, float, int] | None:
    """Return by which share memory grew in the longest life of a process, for how many seconds, and new descriptors.

    Medians of the first and the last quarter are compared, after two minutes; None where no process lived for five.
    """
    lives: dict[int, list[Sample]] = {}
    for each in service.samples:
        lives.setdefault(each.pid, []).append(each)
    if not lives:
        return None
    longest = max(lives.values(), key=len)
    settled = [each for each in longest if each.at > longest[0].at + _WARM_SECONDS]
    if len(settled) < 12 or settled[-1].at - longest[0].at < 2 * _WARM_SECONDS:
        return None
    quarter = len(settled) // 4
    first, last = settled[:quarter], settled[-quarter:]
    before, after = (median(each.memory for each in part) for part in (first, last))
    opened = int(median(each.descriptors for each in last) - median(each.descriptors for each in first))
    return after / before - 1, settled[-1].at - settled[0].at, opened


def check_memory(team: Team, seconds: float) -> Iterator[str]:
    """Memory and descriptors of server and worker do not grow, which ten minutes or more of a soak can tell."""
    if seconds < _COMPARABLE_SECONDS:  # what grows then is what a process needs
        return
    for name in ("serve", "worker"):
        grown = measure_growth(team.services[name])
        if grown is None:
            yield f"{name}: no process lived long enough to compare its memory"
        elif grown[0] > GROWTH or grown[2] > 20:
            yield f"{name}: memory grew by {100 * grown[0]:.1f} % and {grown[2]} descriptors in {grown[1]:.0f} s"


def check_ended() -> Iterator[str]:
    """Return what still runs, or listens, of all that the soak started, after it was stopped."""
    for process in find_marked():
        if process.pid != os.getpid():
            ports = [each.laddr.port for each in process.net_connections("tcp") if each.status == "LISTEN"]
            yield f"process {process.pid} outlived the soak, ports {ports}: {' '.join(process.cmdline())[:150]}"
