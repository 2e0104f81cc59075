"""What `compodiff get` does: ask what the hub offers, fetch what is missing, check each file's digest.

The hub's library starts a file anew after a kill. Here a file grows under its own name and goes on where it stopped;
it takes its place in the library's cache once its digest is the one that the hub states.
"""

import hashlib
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from glob import escape
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from compodiff.errors import InputInvalid, ResourceUnavailable
from compodiff.hub.cache import MAIN, FetchedModel, find_address, locate_folder, read_commit
from compodiff.hub.choosing import choose_files
from compodiff.hub.failures import explain_failures
from compodiff.hub.known import COMMIT, Address
from compodiff.hub.online import allow_network
from compodiff.storage.atomic import replace_path
from compodiff.storage.digests import digest_file
from compodiff.storage.names import is_inside
from compodiff.storage.ownership import delete_partial

_DIGEST = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")  # git's sha1 of a small file, sha256 of a large one
_SHA256 = 64  # digits
_UNFINISHED = ".compodiff-partial"
_OTHER_SIZE = "Consistency check failed"  # as the library says it, by an OSError without a number


@dataclass(frozen=True)
class RemoteFile:
    """A file on the hub; digest: the sha256 of a large file, git's sha1 of a small one."""

    name: str
    size: int
    digest: str

    def is_whole(self, path: Path) -> bool:
        """Return whether a file of this size is there; its digest was checked when it was put there."""
        return path.is_file() and path.stat().st_size == self.size

    def compute_digest(self, path: Path) -> str:
        """Return the digest of a file, of the kind that the hub states for this one."""
        if len(self.digest) == _SHA256:
            return digest_file(path)
        content = path.read_bytes()
        return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


@dataclass(frozen=True)
class Offer:
    """What the hub has under an address, before anything of it is fetched."""

    address: Address
    commit: str
    licence: str
    files: tuple[RemoteFile, ...]

    @property
    def size(self) -> int:
        """How many bytes its files have."""
        return sum(file.size for file in self.files)

    def count_missing(self) -> int:
        """Return how many bytes are still to be fetched."""
        blobs = locate_folder(self.address) / "blobs"
        missing = [file for file in self.files if not file.is_whole(blobs / file.digest)]
        return sum(max(0, file.size - _count_bytes(blobs / f"{file.digest}{_UNFINISHED}")) for file in missing)


def inspect_offer(address: Address) -> Offer:
    """Ask the hub for revision, licence and files of a model.

    Raises:
        InputInvalid: the hub has no such model or revision.
        ResourceUnavailable: the hub cannot be reached, or refuses.
        CheckpointMismatch: its weights are pickles only.
    """
    from huggingface_hub import HfApi, constants
    from huggingface_hub.hf_api import RepoFile

    with allow_network(), explain_failures(address, "fetch"):
        api, kind = HfApi(), address.kind
        timeout = constants.HF_HUB_ETAG_TIMEOUT
        info = api.repo_info(address.hub_id, repo_type=kind, revision=address.revision, timeout=timeout)
        commit = str(info.sha)
        if not COMMIT.fullmatch(commit):
            raise InputInvalid(f"the hub names no commit of {address.hub_id}, but {commit!r}; do not fetch it")
        tree = api.list_repo_tree(address.hub_id, repo_type=kind, recursive=True, revision=commit)
        listed = {
            each.path: RemoteFile(each.path, each.size, each.lfs.sha256 if each.lfs else each.blob_id)
            for each in tree
            if isinstance(each, RepoFile)
        }
    for file in listed.values():
        if not (is_inside(file.name) and _DIGEST.fullmatch(file.digest)):
            raise InputInvalid(f"{address.hub_id} lists the file {file.name!r}, which leads astray; do not fetch it")
    files = tuple(listed[name] for name in choose_files(listed, address))
    if not files:
        raise InputInvalid(f"{address.hub_id} holds no file of a model; check the name")
    return Offer(address, commit, _read_licence(info, address), files)


def fetch_offer(offer: Offer) -> FetchedModel:
    """Fetch what is missing of an offer, with a bar where somebody looks on.

    Raises:
        ResourceUnavailable: network or disk space ended, or a file is not what the hub says; what has arrived stays.
    """
    address, commit = offer.address, offer.commit
    found = _find_whole(offer)
    if found is None:
        _require_space(offer)
        found = _fetch_files(offer)
    with explain_failures(address, "fetch"):
        _record_revision(address, commit)
    return found


def _find_whole(offer: Offer) -> FetchedModel | None:
    """Return the model where each file of the offer is here, so that a cache that cannot be written serves as well."""
    try:
        found = find_address(replace(offer.address, revision=offer.commit))
    except ResourceUnavailable:
        return None
    return found if all(file.is_whole(found.folder / file.name) for file in offer.files) else None


def _fetch_files(offer: Offer) -> FetchedModel:
    from huggingface_hub import snapshot_download

    address, commit = offer.address, offer.commit
    with allow_network(), explain_failures(address, "fetch"):
        with tqdm(desc=address.name, total=offer.size, unit="B", unit_scale=True, disable=None) as bar:
            for file in offer.files:
                _fetch_blob(offer, file, bar)
        # What is there already is only entered into the commit's folder.
        names = [escape(file.name) for file in offer.files]
        snapshot_download(
            address.hub_id, repo_type=address.kind, revision=commit, allow_patterns=names, tqdm_class=_NoBar
        )
    found = find_address(replace(address, revision=commit))
    for file in offer.files:
        path = found.folder / file.name
        # Without links on this disk, what lies there may be another program's.
        if path.resolve().name != file.digest and (digest := file.compute_digest(path)) != file.digest:
            raise ResourceUnavailable(_describe_wrong_digest(file, digest, f"remove {path}", offer))
    return found


def format_bytes(count: float) -> str:
    """Return a size as people read it, in powers of 1000."""
    for unit in ("bytes", "kB", "MB"):
        if count < 999.5:
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"


def _fetch_blob(offer: Offer, file: RemoteFile, bar: "tqdm[Any]") -> None:
    """Fetch one file into the cache, going on where an earlier one stopped."""
    from huggingface_hub import hf_hub_url
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

    address = offer.address
    blob = locate_folder(address) / "blobs" / file.digest
    unfinished = blob.with_name(f"{file.digest}{_UNFINISHED}")
    with _lock_blob(blob):
        if file.is_whole(blob):
            bar.update(file.size)
            return
        if _count_bytes(unfinished) > file.size:
            delete_partial(unfinished)
        done = _count_bytes(unfinished)
        bar.update(done)
        url = hf_hub_url(address.hub_id, file.name, repo_type=address.kind, revision=offer.commit)
        with unfinished.open("ab") as content:
            try:
                http_get(
                    url,
                    content,
                    resume_size=done,
                    headers=build_hf_headers(),
                    expected_size=file.size,
                    displayed_filename=file.name,
                    tqdm_class=_make_part_of(bar),
                )
            except OSError as error:
                if _OTHER_SIZE not in str(error):
                    raise
                delete_partial(unfinished)  # the server says that this is all, so it is another file
                stated = f"another size than the {file.size} bytes that the hub states"
                raise ResourceUnavailable(
                    f"{file.name} of {address.hub_id} came with {stated}; it was removed; run the same command again"
                ) from error
        if (digest := file.compute_digest(unfinished)) != file.digest:
            delete_partial(unfinished)
            raise ResourceUnavailable(_describe_wrong_digest(file, digest, "it was removed", offer))
        os.replace(unfinished, blob)


@contextmanager
def _lock_blob(blob: Path) -> Iterator[None]:
    """Hold the lock that the hub's library takes for a file, so that two processes do not fetch it at once."""
    from huggingface_hub.utils import WeakFileLock  # type: ignore[attr-defined]

    lock = blob.parents[2] / ".locks" / blob.parents[1].name / f"{blob.name}.lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    blob.parent.mkdir(parents=True, exist_ok=True)
    with WeakFileLock(lock):
        yield


def _describe_wrong_digest(file: RemoteFile, digest: str, remedy: str, offer: Offer) -> str:
    said = f"{file.name} of {offer.address.hub_id} came with the digest {digest[:12]}, and the hub states"
    return f"{said} {file.digest[:12]}; {remedy}; run the same command again"


def _require_space(offer: Offer) -> None:
    folder = locate_folder(offer.address)
    there = next(each for each in folder.parents if each.is_dir())
    needed, free = offer.count_missing(), shutil.disk_usage(there).free
    if needed > free:
        raise ResourceUnavailable(
            f"{offer.address} needs {format_bytes(needed)}, and the disk of {there} has {format_bytes(free)}; "
            "free some space, or set HF_HOME to another disk"
        )


def _record_revision(address: Address, commit: str) -> None:
    """Write down which commit a branch or tag stood for; a commit stands for the newest where nothing else does."""
    refs = locate_folder(address) / "refs"
    revision = address.revision or MAIN
    if COMMIT.fullmatch(revision):
        if (refs / MAIN).exists():
            return
        revision = MAIN
    if read_commit(replace(address, revision=revision)) == commit:
        return
    with replace_path(refs / revision) as temporary:
        temporary.write_text(commit, encoding="utf-8")


def _read_licence(info: Any, address: Address) -> str:
    """Return the licence as the hub states it, else as known.toml does."""
    card = getattr(info, "card_data", None)
    stated = getattr(card, "license_name", None) or getattr(card, "license", None)
    return str(stated) if stated else (address.known.licence if address.known else "not stated")


def _count_bytes(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


class _NoBar(tqdm):  # type: ignore[type-arg]
    def __init__(self, *arguments: Any, **options: Any) -> None:
        options.pop("name", None)
        super().__init__(*arguments, **{**options, "disable": True})


def _make_part_of(bar: "tqdm[Any]") -> type[tqdm]:  # type: ignore[type-arg]
    """Return a class of bars that show nothing and move `bar`."""

    class _Part(_NoBar):
        def update(self, n: float | None = 1) -> bool | None:
            return bar.update(n)

    return _Part
