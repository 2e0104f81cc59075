"""Word to people: a flow failed, a model was promoted, refused or rolled back.

Each is an event of Prefect's, for automations to react to. Where COMPODIFF_NOTIFY names a notification block of the
Prefect server (custom-webhook/team, slack-webhook/ops, ...), it is also sent there; the block keeps the address and its
secrets. Word that cannot be sent is said in the log and stops nothing.
"""

import logging
import os
from typing import Any

import httpx
from prefect.blocks.abstract import NotificationError
from prefect.blocks.core import Block
from prefect.client.schemas.objects import FlowRun, State
from prefect.events import emit_event
from prefect.flows import Flow

from compodiff.watching.textfiles import publish_flow

_log = logging.getLogger(__name__)


def tell_failure(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:
    """Say that a run failed, crashed or ran out of time; a hook of every flow."""
    publish_flow(flow.name, succeeded=False)
    name = (state.name or state.type.value).lower()
    tell(name, f"{flow.name} {name}: {flow_run.name}", state.message or "no reason was given")


def note_success(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:
    """Tell Prometheus that a run ended well; a hook of every flow."""
    publish_flow(flow.name, succeeded=True)


def tell(what: str, subject: str, body: str) -> None:
    """Say `what` happened (promoted, refused, failed, ...)."""
    word = what.replace(" ", "-")
    resource = {"prefect.resource.id": f"compodiff.{word}", "prefect.resource.name": subject}
    emit_event(event=f"compodiff.{word}", resource=resource, payload={"body": body})
    name = os.environ.get("COMPODIFF_NOTIFY")
    if not name:
        return
    try:
        block: Any = Block.load(name, _sync=True)  # type: ignore[call-arg]  # its decorator adds the argument
        block.notify(body, f"CompoDiff: {subject}", _sync=True)
    except (ValueError, httpx.HTTPError, NotificationError) as error:
        _log.error("COMPODIFF_NOTIFY=%s could not be notified (%s): %s", name, error, subject)
