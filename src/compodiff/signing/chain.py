"""chain.json of a model folder: the sha256 of each of its files, and what they were made of; chain.sig signs its bytes.

The signature is Ed25519, 64 bytes, so that others can check it as well:
`openssl pkeyutl -verify -pubin -inkey KEY.pub -rawin -in chain.json -sigfile chain.sig`.
"""

import json
import re
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from compodiff.errors import CheckpointMismatch, InputInvalid
from compodiff.signing.keys import TRUSTED, find_signing_key, is_signed, read_trusted_keys
from compodiff.signing.lineage import trace_lineage
from compodiff.storage.digests import digest_file
from compodiff.storage.json_files import parse_json, read_json
from compodiff.storage.names import make_printable

CHAIN, SIGNATURE = "chain.json", "chain.sig"
_INDEX = "index"
_PARTS = ("composed", "encoder", _INDEX)
_FILES = ("sampling.json",)
_DIGEST = re.compile("[0-9a-f]{64}")


def write_chain(to: Path, parts: Mapping[str, Path], origin: Mapping[str, Any]) -> list[Path]:
    """Write chain.json into the folder `to`, and chain.sig where COMPODIFF_SIGNING_KEY names a key; return both.

    Args:
        to: a folder.
        parts: name in the model folder -> folder or file: composed, encoder, index, sampling.json.
        origin: what the files were made of, kept as it is.

    Raises:
        InputInvalid: the key cannot be used.
    """
    key = find_signing_key()
    files = digest_parts(parts)
    content = json.dumps({"files": files, "origin": origin}, indent=1, sort_keys=True).encode()
    (to / CHAIN).write_bytes(content)
    (to / SIGNATURE).unlink(missing_ok=True)
    if key is None:
        return [to / CHAIN]
    (to / SIGNATURE).write_bytes(key.sign(content))
    return [to / CHAIN, to / SIGNATURE]


def write_registered_chain(
    to: Path, project: Path, parts: Mapping[str, Path], described: Mapping[str, str]
) -> dict[str, str]:
    """Write the chain of a model that is registered, with what it was made of; return name -> path of what was written.

    Args:
        to: a folder for them.
        project: whose dvc.lock tells what the parts were made of.
        parts: see `write_chain`.
        described: more that is known of where they come from.

    Raises:
        InputInvalid: the key cannot be used.
    """
    root, lock = project.resolve(), project / "dvc.lock"
    made = {_name_within(root, part): part for part in parts.values()}
    origin = {**described, "dvc_lock": digest_file(lock) if lock.is_file() else None}
    written = write_chain(to, parts, origin | trace_lineage(project, made))
    return {path.name: str(path) for path in written}


def sign_folder(folder: Path) -> bool:
    """Write the chain of a model folder into it; return whether it is signed.

    What an earlier chain tells of the files' origin is kept where they are still those files.

    Raises:
        InputInvalid: the key cannot be used, or the file of that name is no chain.
    """
    parts, origin = list_parts(folder), {}
    if (folder / CHAIN).is_file():
        earlier = read_json(folder / CHAIN)
        if not isinstance(earlier, dict) or not {"files", "origin"} <= earlier.keys():
            raise InputInvalid(f"{folder / CHAIN} is no chain of compodiff; move it away to sign the model")
        if earlier.get("files") == digest_parts(parts):
            origin = earlier["origin"]
    return len(write_chain(folder, parts, origin)) > 1


def read_origin(folder: Path) -> Mapping[str, Any]:
    """Return what the chain of a model folder says of where the model comes from; nothing where it says nothing."""
    try:
        stated = read_json(folder / CHAIN)
    except InputInvalid:
        return {}
    origin = stated.get("origin") if isinstance(stated, dict) else None
    return origin if isinstance(origin, dict) else {}


def digest_parts(parts: Mapping[str, Path]) -> dict[str, str]:
    """Return the sha256 of each file of `parts` (see `write_chain`) by its name in the model folder."""
    return {name: digest_file(file) for name, file in sorted(_list_files(parts))}


def list_parts(folder: Path) -> dict[str, Path]:
    """Return the parts of a model folder that a chain covers, of those that are there."""
    return {name: folder / name for name in (*_PARTS, *_FILES) if (folder / name).exists()}


def require_intact(folder: Path) -> None:
    """Refuse a model folder that is not what its chain says, or is not signed where COMPODIFF_TRUSTED_KEYS asks for it.

    A folder without a chain is taken as it is where no key is trusted. The index may be missing as a whole: a model
    that was fetched from a hub has none.

    Raises:
        CheckpointMismatch: a file was changed, added or taken away, or the signature is missing or another's.
        InputInvalid: the keys cannot be read.
    """
    trusted = read_trusted_keys()
    chain = folder / CHAIN
    if not chain.is_file():
        if trusted:
            raise CheckpointMismatch(
                f"{folder} is not signed, and {TRUSTED} asks for it; sign it: compodiff sign {shlex.quote(str(folder))}"
            )
        return
    content = chain.read_bytes()
    if trusted:
        _require_signature(folder, content, trusted)
    _require_files(folder, content)


def parse_chain(content: bytes, folder: Path | str) -> dict[str, str]:
    """Return the digests of a model's files by name, as chain.json in `folder` states them.

    Raises:
        CheckpointMismatch: it states none.
        InputInvalid: it is not JSON.
    """
    stated = parse_json(content, f"{folder}/{CHAIN}")
    files = stated.get("files") if isinstance(stated, dict) else None
    if not isinstance(files, dict) or not all(_DIGEST.fullmatch(str(digest)) for digest in files.values()):
        raise CheckpointMismatch(
            f"{folder}/{CHAIN} names no files; sign the folder anew: compodiff sign {shlex.quote(str(folder))}"
        )
    return files


def _require_signature(folder: Path, content: bytes, trusted: list[Any]) -> None:
    signature = folder / SIGNATURE
    if not signature.is_file():
        raise CheckpointMismatch(
            f"{folder} is not signed, and {TRUSTED} asks for it; sign it: compodiff sign {shlex.quote(str(folder))}"
        )
    if not is_signed(content, signature.read_bytes(), trusted):
        raise CheckpointMismatch(f"{signature} is of none of the keys of {TRUSTED}; take the model from who signed it")


def _require_files(folder: Path, content: bytes) -> None:
    files = parse_chain(content, folder)
    there = dict(_list_files(list_parts(folder)))
    if not (folder / _INDEX).exists():
        files = {name: digest for name, digest in files.items() if not name.startswith(f"{_INDEX}/")}
    way_out = f"fetch the model again, or, if you changed it: compodiff sign {shlex.quote(str(folder))}"
    for kind, names in (
        ("lacks", files.keys() - there.keys()),
        ("has, besides what it should,", there.keys() - files.keys()),
    ):
        if names:
            raise CheckpointMismatch(f"{folder} {kind} {make_printable(min(names))} by its {CHAIN}; {way_out}")
    for name, digest in files.items():
        if (found := digest_file(there[name])) != digest:
            raise CheckpointMismatch(
                f"{there[name]} was changed: sha256 {found[:12]}, by {CHAIN} {digest[:12]}; {way_out}"
            )


def _list_files(parts: Mapping[str, Path]) -> Iterator[tuple[str, Path]]:
    """Yield each file under its name in the model folder; hidden ones hold nothing of a model."""
    for name, path in parts.items():
        if path.is_file():
            yield name, path
            continue
        for file in path.rglob("*"):
            if file.is_file() and not file.name.startswith("."):
                yield f"{name}/{file.relative_to(path).as_posix()}", file


def _name_within(project: Path, path: Path) -> str:
    place = path.resolve()
    return place.relative_to(project).as_posix() if place.is_relative_to(project) else path.name
