"""One writer of DVC at a time, over all deployments: a global concurrency limit of the Prefect server."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress

from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import GlobalConcurrencyLimitCreate
from prefect.concurrency.sync import concurrency
from prefect.exceptions import ObjectAlreadyExists
from prefect.settings import get_current_settings

WRITER = "compodiff-dvc-writer"

_LEASE_SECONDS = 60.0  # a writer that was killed holds the others off for no longer


@contextmanager
def lock_writing() -> Iterator[None]:
    """Wait until no other flow of this server writes, and hold the others off while the block runs.

    A server that Prefect starts for one flow alone has no others: there DVC's own locks are enough, and a slot would
    outlive a flow that is killed, as such a server keeps leases in memory only.
    """
    if not get_current_settings().api.url:
        yield
        return
    with get_client(sync_client=True) as client, suppress(ObjectAlreadyExists):  # as always but the first time
        client.create_global_concurrency_limit(GlobalConcurrencyLimitCreate(name=WRITER, limit=1))
    # A server that is away for a while must not end the training that holds the slot.
    with concurrency(WRITER, lease_duration=_LEASE_SECONDS, strict=True, raise_on_lease_renewal_failure=False):
        yield
