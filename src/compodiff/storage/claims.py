"""Work folders that belong to one set of inputs: what was made of the same is kept, what was made of others goes."""

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from compodiff.errors import InputInvalid
from compodiff.storage.atomic import open_work_folder, write_json
from compodiff.storage.ownership import delete_folder, is_marked, mark_folder, require_replaceable_folder

FINGERPRINT = "fingerprint.json"
log = logging.getLogger(__name__)


def claim_folder(folder: Path, fingerprint: Mapping[str, Any], kind: str, patterns: Sequence[str]) -> None:
    """Make `folder` ready for output that depends on `fingerprint` (JSON types): keep what was made for the same one.

    Output of another fingerprint is deleted.

    Args:
        folder: the folder.
        fingerprint: what decides its content.
        kind: what it holds, in words.
        patterns: names that are written into it (`ownership.mark_folder`).

    Raises:
        InputInvalid: the folder holds something that no such work made; nothing is touched.
    """
    path, names = folder / FINGERPRINT, (FINGERPRINT, *patterns)
    earlier = _read_fingerprint(path)
    if earlier.keys() & fingerprint.keys() and not is_marked(folder):
        mark_folder(folder, kind, names)  # of release 0.1, which wrote no markers
    open_work_folder(folder, kind, names)
    stale = sorted(key for key in {*earlier, *fingerprint} if earlier.get(key) != fingerprint.get(key))
    if stale and earlier:
        log.info("%s was made with another %s: starting afresh", folder, ", ".join(stale))
        delete_folder(folder, kind)
        open_work_folder(folder, kind, names)
    if not path.exists():
        write_json(path, fingerprint)


def require_claimable(folder: Path, kind: str) -> None:
    """Check at the door that `claim_folder` will take `folder`.

    Raises:
        InputInvalid: it holds something that no such work made.
    """
    if is_marked(folder) or not _read_fingerprint(folder / FINGERPRINT):
        require_replaceable_folder(folder, kind)


def _read_fingerprint(path: Path) -> dict[str, Any]:
    """Read the fingerprint of a folder; empty where there is none."""
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except OSError:  # what else is in the way is said where the folder is opened
        return {}
    except ValueError as error:
        raise InputInvalid(f"{path} is damaged ({error}); delete {path.parent} and run again") from error
    return content
