"""One writer of DVC at a time, over all deployments: a global concurrency limit of the Prefect server."""

import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from uuid import uuid4

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import GlobalConcurrencyLimitCreate, GlobalConcurrencyLimitUpdate
from prefect.client.schemas.objects import ConcurrencyLeaseHolder
from prefect.concurrency.sync import concurrency
from prefect.exceptions import ObjectAlreadyExists
from prefect.settings import get_current_settings

_TAG = "compodiff-dvc-writer"
WRITER = f"tag:{_TAG}"  # only of limits that are named so does Prefect tell who holds them

_LEASE_SECONDS = 60.0  # a writer that was killed holds the others off for no longer
_PATIENCE_SECONDS = 120.0  # after which a writer that waits looks whether anybody holds the slot
log = logging.getLogger(__name__)


@contextmanager
def lock_writing() -> Iterator[None]:
    """Wait until no other flow of this server writes, and hold the others off while the block runs.

    A server that Prefect starts for one flow alone has no others: there DVC's own locks are enough, and a slot would
    outlive a flow that is killed, as such a server keeps leases in memory only.
    """
    if not get_current_settings().api.url:
        yield
        return
    with ExitStack() as held, get_client(sync_client=True) as client:
        with suppress(ObjectAlreadyExists):  # as always but the first time
            client.create_global_concurrency_limit(GlobalConcurrencyLimitCreate(name=WRITER, limit=1))
        while not _try_to_hold(held):
            _free_lost_slot(client)
        yield


def _try_to_hold(held: ExitStack) -> bool:
    """Return whether the slot came free in time; `held` gives it back."""
    # A server that is away for a while must not end the training that holds the slot.
    slot = concurrency(
        WRITER, lease_duration=_LEASE_SECONDS, strict=True, raise_on_lease_renewal_failure=False,
        timeout_seconds=_PATIENCE_SECONDS, holder=ConcurrencyLeaseHolder(type="task_run", id=uuid4()),
    )  # fmt: skip
    try:
        held.enter_context(slot)
    except TimeoutError:
        return False
    return True


def _free_lost_slot(client: SyncPrefectClient) -> None:
    """Free the slot where nobody holds it: a full disk under the server takes a slot and keeps no lease of it."""
    taken = client.read_global_concurrency_limit_by_name(WRITER).active_slots
    if taken and not client.read_concurrency_limit_by_tag(_TAG).active_slots:
        log.warning("the slot of %s is taken, and nobody holds it: freed", WRITER)
        client.update_global_concurrency_limit(WRITER, GlobalConcurrencyLimitUpdate(active_slots=0))
