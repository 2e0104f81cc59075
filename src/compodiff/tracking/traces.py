"""Which trace of OpenTelemetry a model was trained in, so that what is served can be followed back to it.

A training's run in MLflow has it as a tag, the version that is registered takes it from there, and so does its
chain.json, where a server finds it.
"""

from collections.abc import Mapping

from compodiff.tracking.outbox import digest_params
from compodiff.tracking.store import Store
from compodiff.watching.tracing import TRACEPARENT, name_trace

_PARAMS = "params_digest"
TRAINED_IN = "trained_in"  # tag of a version, and in the origin of its chain


def describe_trace(params: Mapping[str, str]) -> dict[str, str]:
    """Return the tags by which this process's training with `params` is found later; none where it is not traced."""
    trace = name_trace()
    return trace | {_PARAMS: digest_params(params)} if trace else {}


def find_training_trace(store: Store, params: Mapping[str, str]) -> dict[str, str]:
    """Return the trace of the last training with these params, as a tag; none where it was not traced.

    Raises:
        MlflowException: MLflow cannot be reached.
    """
    wanted = f"tags.{_PARAMS} = '{digest_params(params)}' and attributes.status = 'FINISHED'"
    newest = ["attributes.start_time DESC"]
    found = store.client.search_runs([store.experiment_id], wanted, max_results=1, order_by=newest)
    return {TRAINED_IN: found[0].data.tags[TRACEPARENT]} if found else {}
