"""What every request passes first: the token, the size of its body, and headers that keep the page to itself."""

import hmac
import json
from collections.abc import Mapping
from http.cookies import CookieError, SimpleCookie
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from compodiff.errors import InputInvalid
from compodiff.serving.metrics import ServiceMetrics

COOKIE = "compodiff_token"
# Nothing of the pictures is in them.
_OPEN = frozenset(("/", "/health", "/session", "/openapi.json", "/docs", "/favicon.ico", "/api/state"))
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'self'; img-src 'self' blob: data:; frame-ancestors 'none'",
}


class AccessGuard:
    """ASGI middleware around the whole application."""

    def __init__(self, app: ASGIApp, *, token: str, upload_bytes: int, metrics: ServiceMetrics) -> None:
        """Ask for `token` ("" for none) and refuse bodies of more than `upload_bytes`."""
        self._app, self._token, self._upload_bytes, self._metrics = app, token, upload_bytes, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        body, counted = _Body(receive, self._upload_bytes), False

        def count(status: int) -> None:
            nonlocal counted
            self._metrics.requests.labels(_find_route(scope), status).inc()
            counted = True

        async def send_counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
                count(message["status"])
            await send(message)

        headers = Headers(scope=scope)
        if not self._is_admitted(scope["path"], headers):
            await refuse(send_counted, 401, "this server wants its token: Authorization: Bearer TOKEN", _BEARER)
        elif _read_length(headers) > self._upload_bytes:
            await refuse(send_counted, 413, f"a request may have {self._upload_bytes:,} bytes; send smaller pictures")
        else:
            try:
                await self._app(scope, body.receive, body._replace_answer(send_counted))
            except Exception:
                if not counted:
                    count(500)  # which Starlette answers, further out than this
                raise

    def _is_admitted(self, path: str, headers: Headers) -> bool:
        if not self._token or path in _OPEN or path.startswith("/page/"):
            return True
        kind, _, given = headers.get("authorization", "").partition(" ")
        if kind.lower() != "bearer":
            given = _read_cookie(headers.get("cookie", ""))
        return is_right_token(given.strip(), self._token)


class _Body:
    """A request's body, counted: a client need not say its length beforehand, or say it rightly."""

    def __init__(self, receive: Receive, most: int) -> None:
        self._receive, self._left, self._most = receive, most, most
        self._refused = False

    async def receive(self) -> Message:
        message = await self._receive()
        self._left -= len(message.get("body", b""))
        return {"type": "http.disconnect"} if self._left < 0 else message

    def _replace_answer(self, send: Send) -> Send:
        """Answer 413 in place of whatever the application makes of a body that was cut off."""

        async def send_replaced(message: Message) -> None:
            if self._left >= 0:
                await send(message)
            elif not self._refused:
                self._refused = True
                await refuse(send, 413, f"a request may have {self._most:,} bytes; make the pictures smaller")

        return send_replaced


_BEARER = {"WWW-Authenticate": "Bearer"}


def require_sendable_token(token: str) -> None:
    """Check that clients can send a token as a header and a cookie; the message does not hold it.

    Raises:
        InputInvalid: it begins or ends in white space, or has a character that is not printable ASCII.
    """
    if token != token.strip():
        raise InputInvalid(
            "the token begins or ends in white space, which clients do not send; correct COMPODIFF_TOKEN"
        )
    if not (token.isascii() and token.isprintable()):
        raise InputInvalid("the token has characters that no header holds; set COMPODIFF_TOKEN to printable ASCII")


def is_right_token(given: str, token: str) -> bool:
    """Return whether a token is the right one, in a time that does not tell how much of it is."""
    return hmac.compare_digest(given.encode(), token.encode())


async def refuse(send: Send, status: int, error: str, headers: Mapping[str, str] | None = None) -> None:
    """Send an error as the application's own are sent."""
    content = json.dumps({"error": error}).encode()
    start: dict[str, Any] = {"type": "http.response.start", "status": status, "headers": []}
    start_headers = MutableHeaders(scope=start)
    start_headers.update({"Content-Type": "application/json", "Content-Length": str(len(content)), **(headers or {})})
    await send(start)
    await send({"type": "http.response.body", "body": content})


def _read_length(headers: Headers) -> int:
    length = headers.get("content-length", "0")
    return int(length) if length.isdecimal() else 0


def _read_cookie(header: str) -> str:
    try:
        cookie = SimpleCookie(header).get(COOKIE)
    except CookieError:
        return ""
    return cookie.value if cookie else ""


def _find_route(scope: Scope) -> str:
    """Return the route's template, so that ids do not become labels."""
    route = scope.get("route")
    return str(getattr(route, "path", "other"))
