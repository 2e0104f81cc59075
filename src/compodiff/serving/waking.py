"""The server while its model is being opened: the page and a state at once, 503 with Retry-After for all else.

Nothing here imports torch, so that the port answers within a second of the command. GET /api/state says
{"state": "waking" | "ready" | "failed", "message": ..., "progress": 0 to 1}, before and after; a message beside "ready"
says what goes on while it answers.
"""

import asyncio
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from compodiff.serving.access import AccessGuard
from compodiff.serving.metrics import ServiceMetrics

PAGE = Path(__file__).with_name("page")
STATE = "/api/state"
_RETRY_SECONDS = 1
_SHOWN_SECONDS = 1.5  # that a failure can be read on an open page before the server ends
_BODY_BYTES = sys.maxsize  # who uploads is told to come again, whatever the size: no body is read


@dataclass(frozen=True)
class ServerState:
    """What the server is doing."""

    state: str = "waking"
    message: str = "waking up: loading libraries"
    progress: float = 0.05


Tell = Callable[[str, float], None]


class WakingServer:
    """ASGI application: answers at once, and hands over to the real one when that is made."""

    def __init__(self, make: Callable[[Tell], ASGIApp], *, token: str, hosts: tuple[str, ...]) -> None:
        """Take what makes the application, in a thread of its own, telling how far it is; see `create_app`."""
        self._make, self._token = make, token
        self.state = ServerState()
        self.failure: BaseException | None = None
        self.on_failure: Callable[[], None] = lambda: None
        self.on_end: Callable[[], None] = lambda: None
        self._app: ASGIApp | None = None
        self._living: asyncio.Future[None] | None = None
        self._orders: asyncio.Queue[Message] = asyncio.Queue()
        self._front = Starlette(
            routes=[
                Route(STATE, self._get_state),
                Route("/", _get_page),
                Route("/favicon.ico", _get_icon),
                Mount("/page", StaticFiles(directory=PAGE)),
                Route("/{path:path}", _refuse, methods=["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]),
            ],
            middleware=[
                Middleware(AccessGuard, token=token, upload_bytes=_BODY_BYTES, metrics=ServiceMetrics()),
                Middleware(TrustedHostMiddleware, allowed_hosts=list(hosts), www_redirect=False),
            ],
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or let the real application answer."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif self._app is None or scope.get("path") == STATE:
            await self._front(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _live(self, receive: Receive, send: Send) -> None:
        """Wake while the server is up; the real application starts and ends with it."""
        await receive()
        await send({"type": "lifespan.startup.complete"})
        waking = asyncio.create_task(self._wake())
        await receive()
        self.on_end()  # a signal ends the process right after this
        if self._living is None:
            waking.cancel()
        else:
            self._orders.put_nowait({"type": "lifespan.shutdown"})
            await self._living
        await send({"type": "lifespan.shutdown.complete"})

    async def _wake(self) -> None:
        """Make the real application and hand over to it, or say why it cannot be made and let the server end."""
        try:
            app = await self._make_in_thread()
            await self._start(app)
        except Exception as error:  # whatever it is, the page is told, and the command ends with it
            self.failure, self._living = error, None
            said = "the server could not start; it says why where it was started" if self._token else str(error)
            self.state = ServerState("failed", said, 1.0)
            await asyncio.sleep(_SHOWN_SECONDS)
            self.on_failure()
            return
        self._app, self.state = app, ServerState("ready", "", 1.0)

    async def _start(self, app: ASGIApp) -> None:
        """Let the real application start; where it cannot, what it raises is raised."""
        started = asyncio.Event()

        async def answer(message: Message) -> None:
            if message["type"] == "lifespan.startup.complete":
                started.set()

        self._orders.put_nowait({"type": "lifespan.startup"})
        scope = {"type": "lifespan", "asgi": {"version": "3.0"}}
        self._living = asyncio.ensure_future(app(scope, self._orders.get, answer))
        waiting = asyncio.create_task(started.wait())
        await asyncio.wait((self._living, waiting), return_when=asyncio.FIRST_COMPLETED)
        if not started.is_set():
            waiting.cancel()
            await self._living

    async def _make_in_thread(self) -> ASGIApp:
        """Make the application in a thread that does not hold the process up when it is to end."""
        loop = asyncio.get_running_loop()
        made: asyncio.Future[ASGIApp] = loop.create_future()

        def tell(message: str, progress: float) -> None:
            with suppress(RuntimeError):  # the loop is closed: the server has ended meanwhile
                loop.call_soon_threadsafe(self._say, message, progress)

        def make() -> None:
            with suppress(RuntimeError):  # the loop is closed: the server has ended meanwhile
                try:
                    app = self._make(tell)
                except Exception as error:  # handed to who waits, whatever it is
                    loop.call_soon_threadsafe(_settle, made.set_exception, error, made)
                else:
                    loop.call_soon_threadsafe(_settle, made.set_result, app, made)

        threading.Thread(target=make, name="waking", daemon=True).start()
        return await made

    def _say(self, message: str, progress: float) -> None:
        if self.state.state != "failed":
            self.state = ServerState(self.state.state, message, progress)

    async def _get_state(self, _: Request) -> Response:
        return JSONResponse(asdict(self.state), headers={"Cache-Control": "no-store"})


def _settle(how: Callable[[Any], None], value: object, made: "asyncio.Future[ASGIApp]") -> None:
    if not made.done():  # the server has ended meanwhile
        how(value)


async def _get_page(_: Request) -> Response:
    return FileResponse(PAGE / "index.html", headers={"Cache-Control": "no-cache"})


async def _get_icon(_: Request) -> Response:
    return FileResponse(PAGE / "icon.svg")


async def _refuse(_: Request) -> Response:
    wait = {"Retry-After": str(_RETRY_SECONDS)}
    return JSONResponse({"error": "the server is waking up; GET /api/state says how far it is"}, 503, wait)
