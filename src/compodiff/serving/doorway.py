"""What stands around the whole server, waking or ready: trusted proxies, the access log, rates of clients."""

import ipaddress
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Receive, Scope, Send

from compodiff.errors import InputInvalid
from compodiff.serving.access_log import REQUEST_ID, AccessLog
from compodiff.serving.json_log import open_json_log
from compodiff.serving.rate_limits import RateLimit, unmap_address


@dataclass(frozen=True)
class Doorway:
    """How requests come in.

    Attributes:
        rate: how often one client may ask, such as 120/minute; "" for any number of times.
        access_log: file of JSON lines, "-" for stdout, "" for none.
        proxies: addresses or networks whose X-Forwarded-For and X-Request-ID are believed; of all others they are
            ignored.
    """

    rate: str = ""
    access_log: str = ""
    proxies: Sequence[str] = ()

    def wrap(self, app: ASGIApp) -> ASGIApp:
        """Return the application behind this doorway.

        Raises:
            InputInvalid: the rate is none, or a proxy is neither address nor network.
            ResourceUnavailable: the log cannot be written.
        """
        inner = RateLimit(app, self.rate) if self.rate else app
        log = open_json_log("compodiff.access", self.access_log) if self.access_log else None
        logged = AccessLog(inner, log)
        if not self.proxies:
            return _enter(logged, lambda client: False)
        from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

        for proxy in self.proxies:
            require_network(proxy)  # the middleware takes anything else for a name, which no client has
        behind_proxy = ProxyHeadersMiddleware(logged, trusted_hosts=[*self.proxies])  # type: ignore[arg-type]
        return _enter(behind_proxy, behind_proxy.trusted_hosts.__contains__)  # type: ignore[arg-type]


def require_network(proxy: str) -> None:
    """Check that `proxy` is an address or a network, such as 10.0.0.0/8.

    Raises:
        InputInvalid: it is neither.
    """
    try:
        ipaddress.ip_network(proxy)
    except ValueError as error:
        raise InputInvalid(f"{proxy or 'nothing'} is no network such as 10.0.0.0/8: {error}") from error


def _enter(app: ASGIApp, is_trusted: Callable[[str], bool]) -> ASGIApp:
    """Take the ids off requests of clients that are not trusted, before a proxy's header says who they come from.

    A client of IPv4 is known by that address also where the socket is of both families.
    """

    async def enter(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            host, port = scope.get("client") or ("", 0)
            host = unmap_address(host)
            scope = {**scope, "client": (host, port) if host else None, "headers": [*scope["headers"]]}
            if not is_trusted(host):
                del MutableHeaders(scope=scope)[REQUEST_ID]
        await app(scope, receive, send)

    return enter
