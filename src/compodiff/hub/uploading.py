"""What `compodiff push` does at the hub: make the place for a model or a set, and put files there in one commit."""

from collections.abc import Mapping
from pathlib import Path

from compodiff.errors import InputInvalid
from compodiff.hub.failures import explain_failures
from compodiff.hub.known import Address
from compodiff.hub.online import allow_network

# What the hub itself puts into a new place, and the card that somebody may have begun there.
_OF_THE_HUB = {".gitattributes", "README.md"}


def upload_files(
    address: Address, files: Mapping[str, Path | bytes], *, proof: str, message: str, is_private: bool
) -> str:
    """Put files on the hub in one commit; return the commit.

    In the folders that `files` fill, what is no longer part of them is taken out; everything else there stays.

    Args:
        address: where; it is made if it is not there.
        files: a file, or its content, by its path at the hub.
        proof: a path that everything of this kind has: where other files lie without it, the place is somebody's.
        message: of the commit.
        is_private: whether a place that is made now is for its owner alone.

    Raises:
        InputInvalid: the place holds something else.
        ResourceUnavailable: hub, network or right is missing.
    """
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi

    kind, hub_id = address.kind, address.hub_id
    with allow_network(), explain_failures(address, "publish"):
        api = HfApi()
        api.create_repo(hub_id, repo_type=kind, private=is_private, exist_ok=True)
        there = set(api.list_repo_files(hub_id, repo_type=kind))
        if (foreign := there - _OF_THE_HUB) and proof not in there:
            raise InputInvalid(
                f"{hub_id} holds {min(foreign)!r}, which compodiff did not put there; name another place"
            )
        folders = tuple({f"{name.partition('/')[0]}/" for name in files if "/" in name})
        stale = sorted(name for name in there - set(files) if name.startswith(folders))
        made = api.create_commit(
            hub_id,
            [
                *(CommitOperationAdd(name, content) for name, content in files.items()),
                *(CommitOperationDelete(name) for name in stale),
            ],
            commit_message=message,
            repo_type=kind,
        )
    return str(made.oid)
