"""Flow: the challenger becomes champion, or is refused with reasons. A change of the registry, so no stage of DVC's."""

import json
from pathlib import Path

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.states import Completed

from compodiff.errors import PromotionRefused
from compodiff.params import load_params
from flows.graph import conclude
from flows.stage import Outcome, outcome_of, run_stage

_LIMIT_SECONDS = 3600.0


@task(task_run_name="promote", retries=2, retry_delay_seconds=[10.0, 60.0], cache_policy=NO_CACHE)
def promote_challenger() -> State[Outcome]:
    """Put the challenger to the gate of params.yaml; a refusal is an answer, not a failure."""
    from compodiff.tracking.promotion import promote

    project = Path.cwd()
    params = load_params(project / "params.yaml")
    try:
        change = promote(project, params.promotion, min_relation_queries=params.evaluation.min_relation_queries)
    except PromotionRefused as refusal:
        outcome, reason = "refused", str(refusal)
    else:
        outcome = "promoted" if change.made else "champion already"
        reason = f"version {change.after}" + (f", before it {change.before or 'none'}" if change.made else "")
    get_run_logger().info("%s: %s", outcome, reason)
    create_markdown_artifact(f"**{outcome}**: {reason}", key="promotion", description="Who is champion, and why.")
    return Completed(name=outcome.capitalize(), data=Outcome("promote", outcome, 0.0, reason), message=reason)


@flow(name="promotion", flow_run_name="promotion")
def promotion() -> State[list[Outcome]]:
    """Promote the challenger if it passes the gate."""
    return conclude(promote_registered())


def promote_registered() -> list[Outcome]:
    """Promote what the graph registered; register it again where the MLflow store is a new or another one."""
    outcomes = []
    if not _is_challenger(Path.cwd()):
        registered = run_stage(name="register", force=True, limit_seconds=_LIMIT_SECONDS, return_state=True)
        outcomes.append(outcome_of("register", registered))
    if not any(each.outcome == "failed" for each in outcomes):
        outcomes.append(outcome_of("promote", promote_challenger(return_state=True)))
    return outcomes


def _is_challenger(project: Path) -> bool:
    """Make the version that stage register wrote down the challenger; False where MLflow does not know it."""
    from compodiff.tracking.registry import make_challenger

    written = project / "artifacts" / "registration.json"
    if not written.is_file():
        return False
    registration = json.loads(written.read_text(encoding="utf-8"))
    return make_challenger(project, registration["version"], registration["run_id"])
