"""One run in MLflow for each run of a pipeline: the runs of its stages are its children.

A flow names itself in the environment (PIPELINE) of the stages that it starts; the first of their runs makes the
parent, and each that ends says how the pipeline stands.
"""

import os
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime

from compodiff.errors import ResourceUnavailable
from compodiff.tracking.store import Store, require_answers

PIPELINE = "COMPODIFF_PIPELINE"  # in the environment: the id of the flow run
_TAG, _PARENT, _CHILD_OF = "pipeline", "pipeline_parent", "mlflow.parentRunId"
_HEADLINES = ("recall_at_1", "recall_at_10", "map_at_10")


def describe_pipeline() -> dict[str, str]:
    """Return the tag that says which pipeline this process belongs to; none where nobody said."""
    name = os.environ.get(PIPELINE, "")
    return {_TAG: name} if name else {}


def join_pipeline(store: Store, run_id: str, tags: Mapping[str, str]) -> None:
    """Put a run with these tags under the run of its pipeline, which is made where it is not there."""
    if not tags.get(_TAG):
        return
    parent = _find_parent(store, tags[_TAG])
    if parent is None:
        name = f"pipeline {datetime.now(UTC):%Y-%m-%d %H:%M}"
        made = store.client.create_run(store.experiment_id, tags={**tags, _PARENT: "true"}, run_name=name)
        parent = str(made.info.run_id)
    store.client.set_tag(run_id, _CHILD_OF, parent)


def update_pipeline(
    store: Store, tags: Mapping[str, str], status: str, figures: Mapping[str, float] | None = None
) -> None:
    """Say in the run of a pipeline how its last stage ended, and the headlines among its figures."""
    from mlflow.entities import Metric
    from mlflow.utils.time import get_current_time_millis

    if not tags.get(_TAG) or (parent := _find_parent(store, tags[_TAG])) is None:
        return
    now = get_current_time_millis()
    told = {name: value for name, value in (figures or {}).items() if _is_headline(name)}
    if told:
        store.client.log_batch(parent, metrics=[Metric(name, value, now, 0) for name, value in told.items()])
    store.client.set_terminated(parent, status)


def end_left_pipelines(store: Store) -> None:
    """End as killed the runs of pipelines of which no stage runs: a kill left them, or a reply that was lost.

    One that goes on stands as its next stage does; where MLflow is away, the next command ends them.
    """
    here = [store.experiment_id]
    with suppress(ResourceUnavailable), require_answers(store.uri):
        left = store.client.search_runs(here, f"attributes.status = 'RUNNING' and tags.{_PARENT} = 'true'")
        for run_id in (str(run.info.run_id) for run in left):
            stages = f"attributes.status = 'RUNNING' and tags.`{_CHILD_OF}` = '{run_id}'"
            if not store.client.search_runs(here, stages, max_results=1):
                store.client.set_terminated(run_id, "KILLED")


def mark_run(store: Store, run_id: str, tags: Mapping[str, str], status: str) -> None:
    """Set the status of a run that has not ended for good; where MLflow is away, the run keeps the one it has."""
    with suppress(ResourceUnavailable), require_answers(store.uri):
        store.client.update_run(run_id, status)
        if status == "KILLED":
            update_pipeline(store, tags, status)


def _is_headline(name: str) -> bool:
    _, row, metric = (*name.split("/"), "", "")[:3]
    return row == "composed" and metric in _HEADLINES and name.count("/") == 2


def _find_parent(store: Store, pipeline: str) -> str | None:
    wanted = f"tags.{_TAG} = '{pipeline}' and tags.{_PARENT} = 'true'"
    found = store.client.search_runs([store.experiment_id], wanted)
    return str(found[0].info.run_id) if found else None
