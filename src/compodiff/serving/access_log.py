"""Who asked what, as JSON lines: one for each request, without its texts, pictures or ids.

A line holds the time, an id of the request (which its answer has as X-Request-ID), the client's address, the method,
the route's template, the status, seconds and bytes of the answer.
"""

import logging
import re
import time
import uuid
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from compodiff.serving.json_log import write_event

REQUEST_ID = "X-Request-ID"
_KNOWN_ID = re.compile(r"[\w-]{1,64}")


class AccessLog:
    """ASGI middleware: gives each request an id, and writes its line where there is a log."""

    def __init__(self, app: ASGIApp, log: logging.Logger | None) -> None:
        """Write to `log` (None: nowhere); an id that the request has already is kept, see `Doorway`."""
        self._app, self._log = app, log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on and write down what came of it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status, sent = time.perf_counter(), 0, 0
        given = Headers(scope=scope).get(REQUEST_ID, "")
        name = given if _KNOWN_ID.fullmatch(given) else uuid.uuid4().hex

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
            write_event(self._log, _describe(scope, name, status or 500, time.perf_counter() - started, sent))


def _describe(scope: Scope, name: str, status: int, seconds: float, sent: int) -> dict[str, Any]:
    client = scope.get("client")
    return {
        "request": name,
        "client": client[0] if client else None,
        "method": scope["method"],
        "route": str(getattr(scope.get("route"), "path", "other")),  # its template: ids would say what is looked at
        "status": status,
        "seconds": round(seconds, 4),
        "bytes": sent,
    }
