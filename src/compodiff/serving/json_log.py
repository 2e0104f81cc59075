"""Logs of JSON lines, to a file that is rotated or to stdout."""

import json
import logging
import os
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from io import TextIOWrapper
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any

from compodiff.errors import InputInvalid, ResourceUnavailable

STDOUT = "-"
_TIME = "at"  # the first entry of each line, by which a log is known as ours
_FILE_BYTES, _FILES = 10 * 2**20, 5  # of one file before another is begun, and how many older ones are kept


def open_json_log(name: str, to: str) -> logging.Logger:
    """Return the log `name`, which writes lines as they are to a file, or to stdout ("-").

    Only its owner reads the file; older ones are kept as FILE.1, FILE.2 ...

    Raises:
        InputInvalid: the file, or an older one, holds something else than such a log.
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
        log.info(json.dumps({_TIME: datetime.now(UTC).isoformat(timespec="milliseconds"), **event}))


class _OwnersFiles(RotatingFileHandler):
    """Makes each file, also those that are begun after the first, readable by its owner alone."""

    def _open(self) -> TextIOWrapper:
        os.close(os.open(self.baseFilename, os.O_CREAT | os.O_WRONLY, 0o600))
        return super()._open()


def _open_rotated(path: Path) -> logging.Handler:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for each in (path, *(path.with_name(f"{path.name}.{age}") for age in range(1, _FILES + 1))):
            if not _is_replaceable(each):
                raise InputInvalid(f"{each} is a file that compodiff did not write as a log; name another one")
        return _OwnersFiles(path, maxBytes=_FILE_BYTES, backupCount=_FILES, encoding="utf-8")
    except OSError as error:
        raise ResourceUnavailable(f"{path} cannot be written: {error.strerror}; name another file") from error


def _is_replaceable(path: Path) -> bool:
    """Return whether a log may go on in this file: it is empty, not there, no regular file, or begins as a log does."""
    if not path.is_file():
        return True
    with path.open("rb") as file:
        start = json.dumps({_TIME: ""}).removesuffix('"}').encode()
        return file.read(len(start)) in (b"", start)
