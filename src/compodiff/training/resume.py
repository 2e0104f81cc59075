"""Checkpoints that survive `kill -9` at any moment: one is there when the marker says so, and the marker comes last.

artifacts/prior.partial/step-200/...   what DeepSpeed writes
artifacts/prior.partial/latest.json    which step is whole, and of what training; written last, by rename
artifacts/prior.partial-1f0c9a2b...    the same of another training that was left; it goes on where its params come back
"""

import errno
import hashlib
import json
import logging
import os
import shlex
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from compodiff.errors import CheckpointMismatch, ResourceUnavailable
from compodiff.machine import LOCK_FILE, lock_folder
from compodiff.storage.atomic import open_work_folder, write_json
from compodiff.storage.ownership import delete_folder, delete_inside, is_marked, mark_folder, require_replaceable_folder
from compodiff.training.engine import Engine

MARKER = "latest.json"
KIND = "checkpoints"
_NAMES = ("step-*", MARKER, LOCK_FILE, "zero_to_*.py")  # the last, of DeepSpeed
DIFFERENCES_NAMED = 3
_OF_THE_MACHINE = {"precision", "processes"}  # nobody asks for another training by another machine
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Checkpoints:
    """The checkpoints of one training.

    Attributes:
        folder: work folder beside the stage's output; removed when the training is done.
        training: what decides the losses, flat: params, digests of the data and of the weights at the start.
    """

    folder: Path
    training: Mapping[str, Any]
    _held: ExitStack = field(default_factory=ExitStack, repr=False, compare=False)

    def load(self, engine: Engine) -> dict[str, Any] | None:
        """Restore the last whole checkpoint into `engine` and return its state, or None where there is none.

        What another training left, of other params or data, is set aside: it comes back with them, until this one is
        done. Of several, the last stays. The folder is this training's until `release`.

        Raises:
            CheckpointMismatch: it is of this training on another machine, or of a file that cannot be read.
            ResourceUnavailable: another training writes there now.
        """
        # Only the main process looks: elsewhere a network's file system may show for long what was there before.
        found = engine.tell_all(self._take_folder() if engine.worker.is_main else None)
        if found is None:
            return None
        if differences := self._list_differences(found):
            raise CheckpointMismatch(
                f"{self.folder / found['tag']} is of this training on another machine ({_name(differences)}); put that "
                f"back to go on with it, or start afresh: rm -r {shlex.quote(str(self.folder))}"
            )
        return engine.load(self.folder, found["tag"])

    def save(self, engine: Engine, step: int, state: dict[str, Any]) -> None:
        """Write a checkpoint, then its marker, then remove the earlier ones. All processes call it.

        Raises:
            ResourceUnavailable: the disk is full; the last whole checkpoint stays.
        """
        tag = f"step-{step}"
        try:
            engine.save(self.folder, tag, state)
        except (OSError, RuntimeError) as error:
            delete_inside(self.folder / tag)
            if not _is_disk_full(error):
                raise
            raise ResourceUnavailable(
                f"no space left on the disk for the checkpoint {self.folder / tag}; free some and run again, "
                "the training goes on from the one before"
            ) from error
        if engine.worker.is_main:
            for path in (self.folder / tag).iterdir():
                with path.open("rb") as file:
                    os.fsync(file.fileno())
            write_json(self.folder / MARKER, {"tag": tag, "training": dict(self.training)})
            for earlier in self.folder.glob("step-*"):
                if earlier.name != tag:
                    delete_inside(earlier)

    def remove(self) -> None:
        """Remove the work folder, and what was set aside: the training is done and its weights are elsewhere."""
        for aside in self._list_aside():
            _delete(aside)
        _delete(self.folder)
        self.release()

    def release(self) -> None:
        """Let another training have the work folder."""
        self._held.close()

    def _take_folder(self) -> dict[str, Any] | None:
        """Make the work folder this training's, and return what the marker in it says then."""
        if self.folder.is_dir():
            self._hold()  # before anything is moved
        left = _read_marker(self.folder)
        differences = self._list_differences(left)
        if left is not None and not differences.keys() <= _OF_THE_MACHINE:
            self._set_aside(left, differences)
        own = self._name_aside(self.training)
        if (own / MARKER).exists() and not (self.folder / MARKER).exists():
            delete_folder(self.folder, KIND)  # of a training that has no checkpoint yet
            own.replace(self.folder)
        self._open_folder(is_ours=(self.folder / MARKER).exists())
        self._hold()
        return _read_marker(self.folder)

    def _hold(self) -> None:
        """Lock the work folder; the kernel frees it when the process ends."""
        self._held.close()
        try:
            self._held.enter_context(lock_folder(self.folder))
        except BlockingIOError as error:
            raise ResourceUnavailable(f"another training writes {self.folder}; wait for its end, or stop it") from error

    def _set_aside(self, left: Mapping[str, Any], differences: Mapping[str, str]) -> None:
        self._open_folder(is_ours=True)
        aside, own = self._name_aside(left["training"]), self._name_aside(self.training)
        for earlier in self._list_aside():
            if earlier != own:
                _delete(earlier)
        self.folder.replace(aside)
        log.warning(
            "%s of another training (%s) is set aside as %s: put that back, and it goes on; it is removed when the "
            "training that begins now is done", left["tag"], _name(differences), aside,
        )  # fmt: skip

    def _name_aside(self, training: Mapping[str, Any]) -> Path:
        asked = {key: value for key, value in training.items() if key not in _OF_THE_MACHINE}
        content = json.dumps(asked, sort_keys=True)
        return self.folder.with_name(f"{self.folder.name}-{digest([content.encode()])}")

    def _list_aside(self) -> list[Path]:
        return [path for path in self.folder.parent.glob(f"{self.folder.name}-*") if is_marked(path)]

    def _open_folder(self, *, is_ours: bool) -> None:
        """Make the work folder; one of release 0.1, whose only mark is the marker of its checkpoint, is taken over."""
        if is_ours and not is_marked(self.folder):
            mark_folder(self.folder, KIND, _NAMES)
        open_work_folder(self.folder, KIND, _NAMES)

    def _list_differences(self, left: Mapping[str, Any] | None) -> dict[str, str]:
        """Return what decides the losses and was otherwise in a checkpoint, in words; nothing where there is none."""
        theirs = {} if left is None else left["training"]
        keys = [] if left is None else sorted({*theirs, *self.training})
        return {
            key: f"{key} was {theirs.get(key)}, is {self.training.get(key)}"
            for key in keys
            if theirs.get(key) != self.training.get(key)
        }


def _read_marker(folder: Path) -> dict[str, Any] | None:
    """Return what the marker of the last whole checkpoint says; None where there is none."""
    path = folder / MARKER
    if not path.exists():
        return None
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def _delete(folder: Path) -> None:
    """Delete a work folder; a kill meanwhile leaves no marker of a step that is gone, and no step without its mark."""
    require_replaceable_folder(folder, KIND)
    for path in (*folder.glob(MARKER), *folder.glob("step-*")):
        delete_inside(path)
    delete_folder(folder, KIND)


def _name(differences: Mapping[str, str]) -> str:
    return "; ".join([*differences.values()][:DIFFERENCES_NAMED])


def digest(parts: Iterable[bytes]) -> str:
    """Compute the SHA-256 of `parts` one after the other, hexadecimal, shortened to 16 digits."""
    sha = hashlib.sha256()
    for part in parts:
        sha.update(part)
    return sha.hexdigest()[:16]


def digest_weights(network: nn.Module) -> str:
    """Digest a network's parameters and buffers."""
    return digest(tensor.detach().cpu().contiguous().numpy().tobytes() for tensor in network.state_dict().values())


def _is_disk_full(error: OSError | RuntimeError) -> bool:
    """Return whether a checkpoint failed for want of space; torch's writer, in C++, says so in its own way only."""
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    return "inline_container.cc" in str(error) or "iostream error" in str(error)
