"""How often one client may ask the model: a moving window for each address; beyond it 429 and Retry-After."""

import ipaddress
import math
import time
from typing import TYPE_CHECKING

from starlette.types import ASGIApp, Receive, Scope, Send

from compodiff.errors import InputInvalid
from compodiff.serving.access import refuse

if TYPE_CHECKING:
    from limits import RateLimitItem

_NETWORK = 64  # bits of an IPv6 address that one subscriber has
_EXAMPLE = "120/minute"


class RateLimit:
    """ASGI middleware that counts requests which run the model: searches, and what else is posted but a session."""

    def __init__(self, app: ASGIApp, rate: str) -> None:
        """Let each client ask `rate`, such as 120/minute.

        Raises:
            InputInvalid: `rate` is none.
        """
        from limits.storage import MemoryStorage
        from limits.strategies import MovingWindowRateLimiter

        self._app, self._rate = app, _parse(rate)
        self._windows = MovingWindowRateLimiter(MemoryStorage())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or say when the client may come again."""
        counts = scope["type"] == "http" and _runs_model(scope["method"], scope["path"])
        client = name_client(scope) if counts else ""
        if not counts or self._windows.hit(self._rate, client):
            await self._app(scope, receive, send)
            return
        wait = max(1, math.ceil(self._windows.get_window_stats(self._rate, client).reset_time - time.time()))
        said = f"one client may ask {self._rate.amount} times in {_describe(self._rate)}; try again in {wait} s"
        await refuse(send, 429, said, {"Retry-After": str(wait)})


def _runs_model(method: str, path: str) -> bool:
    return path == "/search" or (method == "POST" and path != "/session")


def name_client(scope: Scope) -> str:
    """Return by what a client is known: its address, or the network of one subscriber where it is IPv6."""
    host = unmap_address(scope["client"][0]) if scope.get("client") else ""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    if address.version == 4:
        return host
    return str(ipaddress.ip_network(f"{host}/{_NETWORK}", strict=False))


def unmap_address(host: str) -> str:
    """Return 192.0.2.1 for ::ffff:192.0.2.1, which a socket of both families calls it; any other host as it is."""
    try:
        mapped = ipaddress.IPv6Address(host).ipv4_mapped
    except ValueError:
        return host
    return str(mapped) if mapped else host


def _parse(rate: str) -> "RateLimitItem":
    from limits import parse

    try:
        found = parse(rate)
    except ValueError as error:
        raise InputInvalid(f"--rate {rate} is no rate; write one such as {_EXAMPLE}") from error
    if found.amount < 1:
        raise InputInvalid(f"--rate {rate} lets nobody ask; write one such as {_EXAMPLE}")
    return found


def _describe(rate: "RateLimitItem") -> str:
    unit = rate.GRANULARITY.name
    return f"a {unit}" if rate.multiples == 1 else f"{rate.multiples} {unit}s"
