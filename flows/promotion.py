"""Flows: the challenger becomes champion or is refused; the champion is rolled back. Neither is a stage of DVC's."""

import json
from pathlib import Path
from typing import Annotated

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.states import Completed
from pydantic import Field

from compodiff.errors import PromotionRefused
from compodiff.params import load_params
from flows.graph import conclude
from flows.notices import note_success, tell, tell_failure
from flows.processes.open_runs import begin_run
from flows.processes.writer_lock import lock_writing
from flows.tasks import HOUR, StageOutcome, find_outcome, run_stage


@task(task_run_name="promote", retries=2, retry_delay_seconds=[10.0, 60.0], cache_policy=NO_CACHE)
def promote_challenger(number: str) -> State[StageOutcome]:
    """Put version `number` to the gate of params.yaml; a refusal is an answer, not a failure."""
    from compodiff.behaviour.gate import make_behaviour_gate
    from compodiff.tracking.promotion import promote

    project = Path.cwd()
    params = load_params(project / "params.yaml")
    try:
        change = promote(
            project,
            params.gates,
            finetuned_gates=params.finetuned_gates,
            min_relation_queries=params.evaluation.min_relation_queries,
            number=number,
            examine=make_behaviour_gate(project, params),
        )
    except PromotionRefused as refusal:
        outcome, reason = "refused", str(refusal)
    else:
        outcome = "promoted" if change.made else "champion already"
        reason = f"version {change.after}" + (f", before it {change.before or 'none'}" if change.made else "")
    _make_known(outcome, reason)
    return Completed(name=outcome.capitalize(), data=StageOutcome("promote", outcome, 0.0, reason), message=reason)


@task(task_run_name="roll back", retries=2, retry_delay_seconds=[10.0, 60.0], cache_policy=NO_CACHE)
def roll_back(reason: str, instead_of: str | None) -> State[StageOutcome]:
    """Make the previous champion champion again; a second attempt does not undo the first."""
    from compodiff.tracking.promotion import roll_back as roll_back_in

    change = roll_back_in(Path.cwd(), reason, instead_of=instead_of)
    outcome = "rolled back" if change.made else "rolled back already"
    instead = change.before or "one that was deleted"
    said = f"version {change.after}" + (f", instead of {instead}: {reason}" if change.made else "")
    _make_known(outcome, said)
    return Completed(name="Rolled back", data=StageOutcome("rollback", outcome, 0.0, said), message=said)


@flow(
    name="promotion",
    flow_run_name="put the challenger to the gate",
    timeout_seconds=2 * HOUR,
    on_completion=[note_success],
    on_failure=[tell_failure],
    on_crashed=[tell_failure],
)
def run_promotion() -> State[list[StageOutcome]]:
    """Promote the challenger if it passes the gate."""
    begin_run()
    return conclude(promote_registered())


@flow(
    name="rollback",
    flow_run_name="roll back: {reason}",
    timeout_seconds=HOUR,
    on_completion=[note_success],
    on_failure=[tell_failure],
    on_crashed=[tell_failure],
)
def run_rollback(
    reason: Annotated[str, Field(min_length=1, description="why, for the record")],
) -> State[list[StageOutcome]]:
    """Make the previous champion champion again; the one it replaces is not promoted again."""
    begin_run()
    from compodiff.tracking.registry import CHAMPION, find_number_at
    from compodiff.tracking.store import open_store

    champion = find_number_at(open_store(Path.cwd()), CHAMPION)
    return conclude([find_outcome("rollback", roll_back(reason, champion, return_state=True))])


def promote_registered() -> list[StageOutcome]:
    """Promote what the graph registered; register it again where the MLflow store is a new or another one."""
    outcomes = []
    if not _is_challenger(Path.cwd()):
        with lock_writing():
            registered = run_stage(name="register", force=True, limit_seconds=HOUR, return_state=True)
        outcomes.append(find_outcome("register", registered))
    if not any(each.outcome == "failed" for each in outcomes):
        number = _read_registration(Path.cwd())["version"]
        outcomes.append(find_outcome("promote", promote_challenger(number, return_state=True)))
    return outcomes


def _is_challenger(project: Path) -> bool:
    """Make the version that stage register wrote down the challenger; False where MLflow does not know it."""
    from compodiff.tracking.registry import make_challenger

    registration = _read_registration(project)
    return bool(registration) and make_challenger(project, registration["version"], registration["run_id"])


def _read_registration(project: Path) -> dict[str, str]:
    """Return what the stage register wrote down, nothing where it has not run."""
    written = project / "artifacts" / "registration.json"
    found: dict[str, str] = json.loads(written.read_text(encoding="utf-8")) if written.is_file() else {}
    return found


def _make_known(outcome: str, reason: str) -> None:
    """Say it in the log, as an artifact, and to people where something was decided."""
    from compodiff.tracking.registry import find_registry_page

    get_run_logger().info("%s: %s", outcome, reason)
    text = f"**{outcome}**: {reason}\n\nRegistry: {find_registry_page(Path.cwd())}"
    create_markdown_artifact(text, key="promotion", description="Who is champion, and why.")
    if outcome in ("promoted", "refused", "rolled back"):
        tell(outcome, f"{outcome}: {reason}", reason)
