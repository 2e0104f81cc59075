"""Flow: the champion of the registry, whoever that is by now, scored on the benchmark that is at hand by now."""

import json
from pathlib import Path
from typing import Annotated

from prefect import flow, task
from prefect.artifacts import create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.states import Completed
from pydantic import Field

from compodiff.benchmarks.datasets.assembled import DESCRIPTION, Assembled, open_assembled
from compodiff.params import load_params
from flows.notices import note_success, tell, tell_failure
from flows.processes.open_runs import begin_run
from flows.tasks import HOUR, Seconds, run_compodiff

CHAMPION = "models:/compodiff@champion"
FIGURE = "recall_at_10"  # of a benchmark without a gate, which would name its figure

_Drop = Annotated[float, Field(ge=0, le=1, description="what the gate's figure may lose before people are told")]
_Root = Annotated[str, Field(min_length=1, description="an assembled benchmark, or a folder of triplets")]


@flow(
    name="champion",
    flow_run_name="score the champion on {benchmark}",
    timeout_seconds=12 * HOUR,
    on_completion=[note_success],
    on_failure=[tell_failure],
    on_crashed=[tell_failure],
)
def score_champion(
    benchmark: _Root = "artifacts/benchmarks/emoji",
    registered_as: str = "emoji",
    tolerated_drop: _Drop = 0.01,
    limit_seconds: Seconds = 4 * HOUR,
) -> State[dict[str, float]]:
    """Score the champion and compare with the figure it was registered with.

    Args:
        benchmark: the folder.
        registered_as: the benchmark's name in params.yaml.
        tolerated_drop: below the registered figure.
        limit_seconds: time that scoring may take.
    """
    begin_run()
    written = Path("artifacts", "champion", f"{registered_as}.json")
    written.unlink(missing_ok=True)  # of a release that signed no results, it would be taken for somebody's
    arguments = [*_name_benchmark(Path(benchmark)), "--model", CHAMPION, "--json", str(written)]
    run_compodiff("score the champion", arguments, limit_seconds=limit_seconds)
    return compare(written, registered_as, tolerated_drop)


def _name_benchmark(folder: Path) -> list[str]:
    """Return the command that scores the benchmark in `folder`: an assembled one, or one's own triplets."""
    plain = Assembled("", "triplets", ".", "test", None, folder=folder)
    it = open_assembled(folder) if (folder / DESCRIPTION).is_file() else plain
    return ["benchmark", "run", it.format, "--root", str(it.home), "--split", it.split]


@task(task_run_name="compare with the registered figure", retries=2, retry_delay_seconds=10.0, cache_policy=NO_CACHE)
def compare(written: Path, name: str, tolerated_drop: float) -> State[dict[str, float]]:
    """Set what was measured beside what was registered, as a table, and tell people where it fell."""
    from compodiff.tracking.registry import find_version_at
    from compodiff.tracking.store import open_store

    gate = load_params(Path.cwd() / "params.yaml").gates.get(name)
    judged = gate.figure if gate else FIGURE
    measured = json.loads(written.read_text(encoding="utf-8"))["metrics"][judged]
    version = find_version_at(open_store(Path.cwd()), "champion")
    number = version.number if version else "none"
    registered = version.figures.get(f"{name}/composed/{judged}", measured) if version else measured
    row = {"version": number, "figure": f"{name} {judged}", "registered": registered, "now": measured}
    create_table_artifact(key="champion", table=[row], description="The champion, then and now.")
    message = f"version {number}: {name} {judged} {measured:.3f}, registered with {registered:.3f}"
    if measured < registered - tolerated_drop:
        tell("champion fell", f"champion fell on {name}", message)
    return Completed(message=message, data={"registered": registered, "now": measured})
