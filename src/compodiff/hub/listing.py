"""What lies in the hub's cache and what the project knows: `compodiff get --list`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from compodiff.errors import CompoDiffError
from compodiff.hub.cache import find_address, locate_folder, read_commit
from compodiff.hub.known import Address, parse_address, read_known


@dataclass(frozen=True)
class ListedModel:
    """A model that is known or in the cache.

    name: the short name, or the hub id. revision: the commit that is here, else the one that is pinned.
    state: "whole", "in part" or "not here". bytes_here: what its files take on the disk, of all revisions.
    """

    name: str
    hub_id: str
    revision: str | None
    state: Literal["whole", "in part", "not here"]
    bytes_here: int
    megabytes: int | None = None
    licence: str = ""
    library: str = ""
    purpose: str = ""


def list_models() -> list[ListedModel]:
    """Return the models that the project knows, in the order of known.toml, and then what else is in the cache."""
    known = [parse_address(name) for name in read_known()]
    told = {(address.kind, address.hub_id) for address in known}
    others = [address for address in _list_cached() if (address.kind, address.hub_id) not in told]
    return [_describe(address) for address in (*known, *others)]


def _describe(address: Address) -> ListedModel:
    it = address.known
    here = _measure(locate_folder(address) / "blobs")
    try:
        revision: str | None = find_address(address).revision
        state: Literal["whole", "in part", "not here"] = "whole"
    except CompoDiffError:
        revision, state = read_commit(address), "in part" if here else "not here"
    if it is None:
        return ListedModel(address.name, address.hub_id, revision, state, here)
    return ListedModel(address.name, it.hub_id, revision, state, here, it.megabytes, it.licence, it.library, it.purpose)


def _list_cached() -> list[Address]:
    from huggingface_hub import constants

    cache = Path(constants.HF_HUB_CACHE)
    found = []
    for folder in sorted(cache.iterdir()) if cache.is_dir() else ():
        kind, *parts = folder.name.split("--")
        if kind in ("models", "datasets") and len(parts) == 2 and (folder / "snapshots").is_dir():
            hub_id = "/".join(parts)
            found.append(parse_address(hub_id if kind == "models" else f"datasets/{hub_id}"))
    return found


def _measure(folder: Path) -> int:
    """Return how many bytes the files of a folder have."""
    return sum(file.stat().st_size for file in folder.iterdir() if file.is_file()) if folder.is_dir() else 0
