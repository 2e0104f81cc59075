"""Checkpoints that survive `kill -9` at any moment: one is there when the marker says so, and the marker comes last.

artifacts/prior.partial/step-200/...   what DeepSpeed writes
artifacts/prior.partial/latest.json    which step is whole, and of what training; written last, by rename
"""

import errno
import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from compodiff.errors import CheckpointMismatch, ResourceUnavailable
from compodiff.storage.atomic import open_work_folder, write_json
from compodiff.storage.ownership import delete_folder, delete_inside, is_marked, mark_folder
from compodiff.training.engine import Engine

MARKER = "latest.json"
KIND = "checkpoints"
_NAMES = ("step-*", MARKER, "zero_to_*.py")  # the last, of DeepSpeed
DIFFERENCES_NAMED = 3


@dataclass(frozen=True)
class Checkpoints:
    """The checkpoints of one training.

    Attributes:
        folder: work folder beside the stage's output; removed when the training is done.
        training: what decides the losses, flat: params, digests of the data and of the weights at the start.
    """

    folder: Path
    training: Mapping[str, Any]

    def load(self, engine: Engine) -> dict[str, Any] | None:
        """Restore the last whole checkpoint into `engine` and return its state, or None where there is none.

        Raises:
            CheckpointMismatch: it is of another training, or of a file that cannot be read.
        """
        marker = self.folder / MARKER
        if engine.worker.is_main:
            self._open_folder(is_ours=marker.exists())
        engine.wait_for_all()
        if not marker.exists():
            return None
        content = json.loads(marker.read_text(encoding="utf-8"))
        self._require_same(content["training"], content["tag"])
        return engine.load(self.folder, content["tag"])

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
        """Remove the work folder: the training is done and its weights are elsewhere."""
        delete_folder(self.folder, KIND)

    def _open_folder(self, *, is_ours: bool) -> None:
        """Make the work folder; one of release 0.1, whose only mark is the marker of its checkpoint, is taken over."""
        if is_ours and not is_marked(self.folder):
            mark_folder(self.folder, KIND, _NAMES)
        open_work_folder(self.folder, KIND, _NAMES)

    def _require_same(self, theirs: Mapping[str, Any], tag: str) -> None:
        differences = [
            f"{key} was {theirs.get(key)}, is {self.training.get(key)}"
            for key in sorted({*theirs, *self.training})
            if theirs.get(key) != self.training.get(key)
        ]
        if differences:
            raise CheckpointMismatch(
                f"{self.folder / tag} is of another training ({'; '.join(differences[:DIFFERENCES_NAMED])}); "
                f"put that back to go on with it, or start afresh: rm -r {self.folder}"
            )


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
