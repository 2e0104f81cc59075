"""What stands around the whole server, waking or ready: trusted proxies, the access log, rates of clients."""

from collections.abc import Sequence
from dataclasses import dataclass

from starlette.types import ASGIApp

from compodiff.serving.access_log import AccessLog
from compodiff.serving.json_log import open_json_log
from compodiff.serving.rate_limits import RateLimit


@dataclass(frozen=True)
class Doorway:
    """How requests come in.

    Attributes:
        rate: how often one client may ask, such as 120/minute; "" for any number of times.
        access_log: file of JSON lines, "-" for stdout, "" for none.
        proxies: addresses or networks whose X-Forwarded-For is believed; of all others it is ignored.
    """

    rate: str = ""
    access_log: str = ""
    proxies: Sequence[str] = ()

    def wrap(self, app: ASGIApp) -> ASGIApp:
        """Return the application behind this doorway.

        Raises:
            InputInvalid: the rate is none.
            ResourceUnavailable: the log cannot be written.
        """
        inner = RateLimit(app, self.rate) if self.rate else app
        log = open_json_log("compodiff.access", self.access_log) if self.access_log else None
        logged: ASGIApp = AccessLog(inner, log, keeps_ids=bool(self.proxies))
        if not self.proxies:
            return logged
        from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

        behind_proxy: ASGIApp = ProxyHeadersMiddleware(logged, trusted_hosts=[*self.proxies])  # type: ignore[arg-type, assignment]
        return behind_proxy
