"""What the hub's library raises, as one line with a way out. A server's texts and the token are never shown."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from json import JSONDecodeError
from typing import Any

from compodiff.errors import CompoDiffError, InputInvalid, ResourceUnavailable
from compodiff.hub.known import Address

_LOG_IN = "log in: hf auth login, or set HF_TOKEN"
_FULL = (errno.ENOSPC, errno.EDQUOT)
_UNWRITABLE = (errno.EACCES, errno.EPERM, errno.EROFS)


@contextmanager
def explain_failures(address: Address, action: str) -> Iterator[None]:
    """Turn what goes wrong inside the block into an error of ours.

    Args:
        address: the model or set that the hub is asked about.
        action: what is done to it, in one word: "fetch" or "publish".

    Raises:
        InputInvalid: the hub has nothing under that name or revision.
        ResourceUnavailable: hub, network, right or disk space is missing.
    """
    import httpx2

    try:
        yield
    except CompoDiffError:
        raise
    except (httpx2.HTTPError, OSError, RuntimeError, ValueError) as error:
        raise _explain(error, address, action) from error


def _explain(error: Exception, address: Address, action: str) -> CompoDiffError:
    import httpx2
    from huggingface_hub import constants, errors

    if isinstance(error, RuntimeError) and isinstance(error.__cause__, OSError | httpx2.HTTPError):
        error = error.__cause__  # the library wraps what an upload raised
    if isinstance(error, errors.HfHubHTTPError):
        return _explain_answer(error, address, action)
    if isinstance(error, httpx2.HTTPError):
        return ResourceUnavailable(
            f"the hub at {constants.ENDPOINT} cannot be reached ({type(error).__name__}); check the network, or "
            "HF_ENDPOINT, and run the same command again: what has arrived stays"
        )
    if isinstance(error, OSError) and error.errno in _FULL:
        return ResourceUnavailable(
            f"the disk of {constants.HF_HUB_CACHE} is full; free some space, or set HF_HOME to another disk, and run "
            "the same command again"
        )
    if isinstance(error, OSError) and error.errno in _UNWRITABLE:
        return ResourceUnavailable(
            f"{error.filename or constants.HF_HUB_CACHE} cannot be written ({error.strerror}); make it writable, or "
            "set HF_HOME to a folder of your own"
        )
    if isinstance(error, JSONDecodeError):
        return ResourceUnavailable(
            f"what answers at {constants.ENDPOINT} is no hub (it sends no JSON); log in to the network if it asks for "
            "that, and check HF_ENDPOINT"
        )
    said = " ".join(str(error).split())[:200]
    return ResourceUnavailable(f"could not {action} {address.hub_id}: {said}")


def _explain_answer(error: Any, address: Address, action: str) -> CompoDiffError:
    """Return the error for an answer of the hub that is no success."""
    from huggingface_hub import constants, errors

    hub_id, status = address.hub_id, error.response.status_code
    if isinstance(error, errors.GatedRepoError):
        page = f"{constants.ENDPOINT}/{hub_id}"
        return ResourceUnavailable(f"the authors of {hub_id} decide who gets it; ask on {page}, then {_LOG_IN}")
    if isinstance(error, errors.RevisionNotFoundError):
        said = f"{hub_id} has no revision {address.revision}, or none any more"
        return InputInvalid(f"{said}; compodiff get {hub_id}@main takes the newest")
    absent = isinstance(error, errors.RepositoryNotFoundError) or status == 404
    told: dict[int, CompoDiffError] = {
        400: InputInvalid(f"the hub does not take {hub_id} as it is (400); check its name and files"),
        401: ResourceUnavailable(f"the hub does not know who asks for {hub_id} (401); {_LOG_IN}"),
        403: ResourceUnavailable(f"you have no right to {action} {hub_id} (403); with one that has it, {_LOG_IN}"),
        404: InputInvalid(f"the hub has no {address.kind} {hub_id}, or it is private; check the name, or {_LOG_IN}"),
    }
    other = ResourceUnavailable(f"the hub answers {status} to {hub_id}; run the same command again later")
    return told.get(404 if absent else status, other)
