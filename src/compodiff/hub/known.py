"""The models that the project knows by a short name: known.toml."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from compodiff.errors import InputInvalid

Library = Literal["open_clip", "transformers", "sentence_transformers", "diffusers", "compodiff", "released"]

Kind = Literal["model", "dataset"]

COMMIT = re.compile(r"[0-9a-f]{40}")
# As the hub has them: parts of letters, digits, '_', '-' and '.', neither at an end, and no two of them in a row.
_PART = r"(?!\S*(?:--|\.\.))\w(?:[\w.-]{0,94}\w)?"
_HUB_ID = re.compile(rf"(datasets/)?{_PART}/{_PART}", re.ASCII)
_REVISION = re.compile(r"(?!.*\.\.)\w[\w./-]*", re.ASCII)


@dataclass(frozen=True)
class KnownModel:
    """An entry of known.toml.

    revision: the commit that is pinned; None where no source that we trust names one, and `get` takes the newest.
    files: patterns of the names that are needed; empty: `choosing.choose_files` decides.
    is_pickle: the weights are published as a pickle only, which is read with `weights_only=True`.
    architecture: the name in open_clip's list, of `library = "open_clip"`.
    needs: short names of the models without which this one is of no use.
    """

    name: str
    hub_id: str
    library: Library
    licence: str
    purpose: str
    megabytes: int | None = None
    revision: str | None = None
    files: tuple[str, ...] = ()
    is_pickle: bool = False
    architecture: str | None = None
    quick_gelu: bool = False
    needs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Address:
    """A model as somebody names it: the entry of known.toml where there is one, hub id and revision."""

    name: str
    hub_id: str
    revision: str | None
    known: KnownModel | None = None
    kind: Kind = "model"

    def __str__(self) -> str:
        return self.name if self.revision is None or self.is_pinned else f"{self.name}@{self.revision}"

    @property
    def is_pinned(self) -> bool:
        """Whether the revision is the one of known.toml."""
        return self.known is not None and self.revision == self.known.revision


@cache
def read_known() -> Mapping[str, KnownModel]:
    """Return the entries of known.toml by short name, in its order."""
    import tomllib

    table = tomllib.loads(Path(__file__).with_name("known.toml").read_text(encoding="utf-8"))
    return {name: KnownModel(name=name, **_read_entry(entry)) for name, entry in table.items()}


def parse_address(text: str, revision: str | None = None) -> Address:
    """Return what a short name or a hub id stands for.

    Args:
        text: a short name of known.toml, `org/name` or `datasets/org/name`; each may end in `@revision`.
        revision: a commit, branch or tag, where `text` says none.

    Raises:
        InputInvalid: it is neither; the nearest names are shown.
    """
    name, sign, said = text.partition("@")
    wanted = said if sign else revision
    if wanted is not None and not _REVISION.fullmatch(wanted):
        raise InputInvalid(f"{text!r} names no revision; write NAME@COMMIT, a branch or a tag")
    named = read_known().get(name)
    if named is not None:
        return Address(name, named.hub_id, wanted or named.revision, named)
    if not _HUB_ID.fullmatch(name):
        raise InputInvalid(f"{text!r} is no model that compodiff knows{_suggest(name)}, and no hub id (org/name)")
    known = next((each for each in read_known().values() if each.hub_id == name), None)
    kind: Kind = "dataset" if name.startswith("datasets/") else "model"
    pinned = wanted or (known.revision if known else None)
    return Address(name, name.removeprefix("datasets/"), pinned, known, kind)


def _read_entry(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in entry.items()}


def _suggest(name: str) -> str:
    """Return the nearest names, for the middle of a sentence."""
    import difflib

    near = difflib.get_close_matches(name, read_known(), n=3, cutoff=0.4)
    return f" (near: {', '.join(near)})" if near else " (compodiff get --list shows them)"
