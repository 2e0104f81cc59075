"""Who asked what, as JSON lines: one for each request, without its texts, pictures or ids.

A line holds the time, an id of the request (which its answer has as X-Request-ID), the client's address, the method,
the route's template, the status, seconds and bytes of the answer.
"""

import json
import logging
import os
import re
import sys
import time
import uuid
from datetime import UTC, datetime
from logging.handlers import RotatingFileHandler
from pathlib import Path

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from compodiff.errors import ResourceUnavailable

STDOUT = "-"
REQUEST_ID = "X-Request-ID"
_FILE_BYTES, _FILES = 10 * 2**20, 5  # of one file before another is begun, and how many older ones are kept
_KNOWN_ID = re.compile(r"[\w-]{1,64}")


class AccessLog:
    """ASGI middleware: gives each request an id, and writes its line where there is a log."""

    def __init__(self, app: ASGIApp, log: logging.Logger | None, *, keeps_ids: bool) -> None:
        """Write to `log` (None: nowhere); `keeps_ids`: a proxy that is trusted may have given a request its id."""
        self._app, self._log, self._keeps_ids = app, log, keeps_ids

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on and write down what came of it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status, sent = time.perf_counter(), 0, 0
        given = Headers(scope=scope).get(REQUEST_ID, "")
        name = given if self._keeps_ids and _KNOWN_ID.fullmatch(given) else uuid.uuid4().hex

        async def send_noted(message: Message) -> None:
            nonlocal status, sent
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)[REQUEST_ID] = name
            sent += len(message.get("body", b""))
            await send(message)

        try:
            await self._app(scope, receive, send_noted)
        finally:
            if self._log is not None:
                self._log.info(_make_line(scope, name, status or 500, time.perf_counter() - started, sent))


def open_access_log(to: str) -> logging.Logger:
    """Return a log that writes lines as they are to a file, which is rotated, or to stdout ("-").

    Raises:
        ResourceUnavailable: the file cannot be written.
    """
    log = logging.getLogger("compodiff.access")
    log.setLevel(logging.INFO)
    log.propagate = False
    for handler in [*log.handlers]:
        log.removeHandler(handler)
        handler.close()
    log.addHandler(logging.StreamHandler(sys.stdout) if to == STDOUT else open_rotated(Path(to)))
    return log


def open_rotated(path: Path) -> logging.Handler:
    """Return a handler over a file that only its owner reads; older ones are kept as NAME.1, NAME.2 ...

    Raises:
        ResourceUnavailable: it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600))
        return RotatingFileHandler(path, maxBytes=_FILE_BYTES, backupCount=_FILES, encoding="utf-8")
    except OSError as error:
        raise ResourceUnavailable(f"{path} cannot be written: {error.strerror}; name another file") from error


def _make_line(scope: Scope, name: str, status: int, seconds: float, sent: int) -> str:
    client = scope.get("client")
    return json.dumps(
        {
            "at": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "request": name,
            "client": client[0] if client else None,
            "method": scope["method"],
            "route": str(getattr(scope.get("route"), "path", "other")),  # its template: ids would say what is looked at
            "status": status,
            "seconds": round(seconds, 4),
            "bytes": sent,
        }
    )
