"""What a model that compodiff made needs besides its own files: the models that its encoder is made of."""

from typing import Any

from compodiff.errors import CompoDiffError, InputInvalid
from compodiff.hub.cache import FetchedModel, find_address
from compodiff.hub.known import Address, parse_address
from compodiff.storage.json_files import read_json


def list_missing_parts(found: FetchedModel) -> list[Address]:
    """Return what the encoder's manifest of a fetched model names and the cache does not hold, each once.

    Raises:
        InputInvalid: the manifest is none, or names a model in a way that no hub has.
    """
    manifest = found.folder / "encoder" / "manifest.json"
    if not manifest.is_file():
        return []
    content = read_json(manifest)
    try:
        parts: list[dict[str, Any]] = [content["picture"], *content["texts"]] if "picture" in content else []
        named = [(part["hub_id"], part.get("revision")) for part in parts if part.get("hub_id")]
    except (TypeError, KeyError, AttributeError) as error:
        raise InputInvalid(f"{manifest} of {found.name} is no manifest of an encoder; ask its authors") from error
    addresses = dict.fromkeys(parse_address(hub_id, revision) for hub_id, revision in named)
    return [address for address in addresses if not _is_here(address)]


def _is_here(address: Address) -> bool:
    try:
        find_address(address)
    except CompoDiffError:
        return False
    return True
