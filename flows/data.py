"""The one input of the graph that is no stage: data/, held to data.dvc, which notes the params it was built with."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from compodiff.params import load_params
from compodiff.storage.atomic import replace_path
from flows.processes.dvc import CommandResult, compare_data, has_remote, run_dvc, run_followed
from flows.tasks import PROGRAM, REFUSED, describe_failure, should_retry

_LIMIT_SECONDS = 3600.0


@task(
    task_run_name="data",
    retries=2,
    retry_delay_seconds=[10.0, 60.0],
    retry_condition_fn=should_retry,
    cache_policy=NO_CACHE,
)
def provide_data() -> State[Any]:
    """Provide data/ as data.dvc records it: pulled where DVC has a remote, else built from the pinned packages.

    Where section `data` of params.yaml is another than data.dvc notes, data/ is built anew and recorded.
    """
    project, follow = Path.cwd(), get_run_logger().info
    changed = _detect_changed_params(project)
    if not changed and compare_data(project) == "absent" and has_remote(project):
        run_dvc(["pull", "data.dvc"], follow, limit_seconds=_LIMIT_SECONDS)
    if changed or compare_data(project) == "absent":
        built = _build(follow)
        if built.code:
            name, reason = describe_failure(built, built.code, _LIMIT_SECONDS)
            return Failed(name=name, message=f"data/ cannot be built: {reason}")
    if changed:
        _record(project, follow)
    state = compare_data(project)
    if state == "other":
        reason = "data/ is not what data.dvc records; to rebuild it, remove it; to record it: dvc add data"
        return Failed(name=REFUSED, message=reason)
    if state == "new":
        run_dvc(["commit", "--force", "data.dvc"], follow, limit_seconds=_LIMIT_SECONDS)
    return Completed(message="data/ is what data.dvc records")


def _build(follow: Callable[[str], None]) -> CommandResult:
    return run_followed([PROGRAM, "data"], follow, limit_seconds=_LIMIT_SECONDS)


def _detect_changed_params(project: Path) -> bool:
    noted = _read(project / "data.dvc").get("meta", {}).get("params")
    return noted is not None and noted != load_params(project / "params.yaml").data.model_dump()


def _record(project: Path, follow: Callable[[str], None]) -> None:
    """Record data/ with the params that it was built with."""
    run_dvc(["add", "data"], follow, limit_seconds=_LIMIT_SECONDS)
    recorded = _read(project / "data.dvc")
    recorded["meta"] = {"params": load_params(project / "params.yaml").data.model_dump()}
    with replace_path(project / "data.dvc") as temporary:
        temporary.write_text(yaml.safe_dump(recorded, sort_keys=False), encoding="utf-8")


def _read(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return content
