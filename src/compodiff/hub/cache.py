"""What lies in the cache of the hub's library, found without the network.

The cache is the library's own (HF_HUB_CACHE, or HF_HOME/hub), so that other programs share it. A file in it is named by
its digest: the sha256 of large files, git's sha1 of small ones.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from compodiff.errors import InputInvalid, ResourceUnavailable
from compodiff.hub.choosing import choose_files
from compodiff.hub.known import COMMIT, Address, KnownModel, parse_address

MAIN = "main"


@dataclass(frozen=True)
class FetchedModel:
    """A model that lies whole in the cache.

    name: as it was asked for. revision: the commit. files: of it, by their paths in `folder`.
    """

    name: str
    hub_id: str
    revision: str
    folder: Path
    files: tuple[str, ...]
    known: KnownModel | None = None


def find_model(name_or_id: str, revision: str | None = None) -> FetchedModel:
    """Find a model in the cache; the network is never used.

    Args:
        name_or_id: a short name of known.toml, or a hub id; `@revision` may follow.
        revision: a commit, branch or tag; None for the pinned one, or the newest that was fetched.

    Raises:
        InputInvalid: it is neither a name nor a hub id.
        ResourceUnavailable: it is not there, or not whole; the message names the command that fetches it.
    """
    return find_address(parse_address(name_or_id, revision))


def find_model_folder(place: str | Path, revision: str | None = None) -> Path:
    """Return a model's folder: `place` itself where it is one, else what the cache holds under that name.

    Raises:
        InputInvalid: it is neither a folder, nor a name, nor a hub id.
        ResourceUnavailable: it is not in the cache, or not whole.
    """
    return Path(place) if Path(place).is_dir() else find_model(str(place), revision).folder


def find_fetched_folder(text: str) -> Path | None:
    """Return the folder of a model that was fetched; None where `text` is no hub id, or nothing of it was fetched.

    Raises:
        ResourceUnavailable: it is not whole any more.
    """
    try:
        address = parse_address(text)
    except InputInvalid:
        return None
    return None if read_commit(address) is None else find_address(address).folder


def find_address(address: Address) -> FetchedModel:
    """Find in the cache what an address stands for; see `find_model`.

    Raises:
        ResourceUnavailable: it is not there, or not whole.
    """
    remedy = f"run: compodiff get {address}"
    commit = read_commit(address)
    folder = locate_folder(address) / "snapshots" / (commit or MAIN)
    if commit is None or not folder.is_dir():
        raise ResourceUnavailable(f"the model {address} is not on this machine; {remedy}")
    sizes = read_sizes(address, commit)
    present = {path.relative_to(folder).as_posix(): path.stat().st_size for path in folder.rglob("*") if path.is_file()}
    names = choose_files(sizes or present, address)
    faulty = [name for name in names if name not in present or present[name] != (sizes or present)[name]]
    if faulty or not names:
        missing = f"{len(faulty)} of {len(names)} files are missing or cut short, as {faulty[0]}" if faulty else "empty"
        raise ResourceUnavailable(f"the model {address} is not whole on this machine ({missing}); {remedy}")
    return FetchedModel(address.name, address.hub_id, commit, folder, names, address.known)


def read_commit(address: Address) -> str | None:
    """Return the commit that a revision stood for when it was fetched; None where none was."""
    revision = address.revision or MAIN
    if COMMIT.fullmatch(revision):
        return revision
    recorded = locate_folder(address) / "refs" / revision
    return recorded.read_text(encoding="utf-8").strip() if recorded.is_file() else None


def locate_folder(address: Address) -> Path:
    """Return where the cache keeps a model's files, whether or not it is there."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE) / f"{address.kind}s--{address.hub_id.replace('/', '--')}"


def read_sizes(address: Address, commit: str) -> Mapping[str, int]:
    """Return the size of each file of a commit, as the hub said when it was fetched; none where nobody kept it."""
    from huggingface_hub import get_cached_repo_tree
    from huggingface_hub.errors import CachedRepoTreeNotFoundError

    try:
        tree = get_cached_repo_tree(address.hub_id, repo_type=address.kind, revision=commit)
    except CachedRepoTreeNotFoundError:
        return {}
    return {file.path: file.size for file in tree}
