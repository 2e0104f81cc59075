"""Logs of JSON lines, to a file that is rotated or to stdout."""

import json
import logging
import os
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any

from compodiff.errors import ResourceUnavailable

STDOUT = "-"
_FILE_BYTES, _FILES = 10 * 2**20, 5  # of one file before another is begun, and how many older ones are kept


def open_json_log(name: str, to: str) -> logging.Logger:
    """Return the log `name`, which writes lines as they are to a file, or to stdout ("-").

    Only its owner reads the file; older ones are kept as FILE.1, FILE.2 ...

    Raises:
        ResourceUnavailable: the file cannot be written.
    """
    log = logging.getLogger(name)
    log.setLevel(logging.INFO)
    log.propagate = False
    for handler in [*log.handlers]:
        log.removeHandler(handler)
        handler.close()
    log.addHandler(logging.StreamHandler(sys.stdout) if to == STDOUT else _open_rotated(Path(to)))
    return log


def write_event(log: logging.Logger | None, event: Mapping[str, Any]) -> None:
    """Write one line, the time first; nowhere where there is no log."""
    if log is not None:
        log.info(json.dumps({"at": datetime.now(UTC).isoformat(timespec="milliseconds"), **event}))


def _open_rotated(path: Path) -> logging.Handler:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600))
        return RotatingFileHandler(path, maxBytes=_FILE_BYTES, backupCount=_FILES, encoding="utf-8")
    except OSError as error:
        raise ResourceUnavailable(f"{path} cannot be written: {error.strerror}; name another file") from error
