"""The HTTP API and the page. Run: compodiff serve."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Annotated, Any

from fastapi import APIRouter, BackgroundTasks, FastAPI, Form, HTTPException, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response, StreamingResponse
from fastapi.staticfiles import StaticFiles
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.responses import FileResponse

from compodiff.errors import CompoDiffError, ResourceUnavailable
from compodiff.search.naming import find_named
from compodiff.search.progress import SearchProgress
from compodiff.serving.access import COOKIE, AccessGuard, is_right_token
from compodiff.serving.bodies import JSON_BODY, FormOrJsonRoute, SearchLink
from compodiff.serving.champion import Champion, ServedModel
from compodiff.serving.form import SearchForm
from compodiff.serving.limits import MAX_LISTED, MAX_TEXT, Limits
from compodiff.serving.live_watch import LiveWatch
from compodiff.serving.page_api import add_page_api
from compodiff.serving.pictures import ServedPicture, ThumbnailEdge, read_original
from compodiff.serving.rate_limits import name_client
from compodiff.serving.replies import (
    FaultReply,
    HealthReply,
    ModelReply,
    PicturesReply,
    RankingReply,
    make_model_reply,
    make_picture_reply,
)
from compodiff.serving.service import Service, StartedSearch
from compodiff.serving.waking import PAGE

STREAM = "application/x-ndjson"
_KEPT = "private, max-age=3600"


def _describe_faults(*statuses: int) -> dict[int | str, dict[str, Any]]:
    words = {
        400: "The request is not what its headers say, or names another host.",
        401: "The token is missing or wrong.",
        404: "There is no such picture.",
        413: "The request is too large.",
        415: "The body is neither a form nor JSON.",
        422: "The request cannot be answered as it is; the error says why.",
        429: "Too many queries are waiting.",
    }
    return {status: {"model": FaultReply, "description": words[status]} for status in statuses}


def create_app(
    champion: Champion,
    *,
    limits: Limits | None = None,
    token: str = "",
    hosts: tuple[str, ...] = ("*",),
    refresh_seconds: float = 10.0,
    watch: LiveWatch | None = None,
) -> FastAPI:
    """Return the application over what `champion` holds.

    Args:
        champion: the model and index; followed as its alias moves.
        limits: what one request, and all together, may ask for.
        token: asked of every request but the page's own files; "" for none.
        hosts: names under which the server may be addressed; a page of another site cannot be made to read ours.
        refresh_seconds: how often a newer champion or index is looked for.
        watch: what follows the queries besides; None for nothing.
    """
    limits = limits or Limits()
    service = Service(champion, limits, refresh_seconds, watch or LiveWatch())

    @asynccontextmanager
    async def run_service(_: FastAPI) -> AsyncIterator[None]:
        async with service.run():
            yield

    app = FastAPI(
        title="CompoDiff",
        version=version("compodiff"),
        description="Composed image retrieval: a picture and a change find the picture you mean.",
        lifespan=run_service,
        docs_url=None,  # both pages would load their scripts from another host; ours is page/docs.html
        redoc_url=None,
    )
    app.state.service = service
    _add_search(app, service)
    _add_pictures(app, service)
    add_page_api(app, service, _describe_faults)
    _add_operation(app, service, token)
    _add_page(app, service, is_open=not token)
    _add_errors(app)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=list(hosts), www_redirect=False)
    app.add_middleware(AccessGuard, token=token, upload_bytes=limits.upload_bytes, metrics=service.metrics)
    return app


def _add_search(app: FastAPI, service: Service) -> None:
    router = APIRouter(route_class=FormOrJsonRoute)

    @router.post(
        "/search",
        response_model=RankingReply,
        responses={
            200: {"content": {STREAM: {"schema": {"type": "string"}, "example": '{"event": "sample", "done": 3}\n'}}},
            **_describe_faults(400, 401, 413, 415, 422, 429),
        },
        openapi_extra=JSON_BODY,
        summary="Find pictures like the reference, but ...",
    )
    async def search(request: Request, form: Annotated[SearchForm, Form(media_type="multipart/form-data")]) -> Response:
        """Answer a query. With `Accept: application/x-ndjson`, progress comes line by line, the answer last.

        All that can be wrong with a query is found out before the first line, so it has the same 4xx either way. What
        fails later is a fault of the server: the last line is then `{"event": "error", ...}`, or missing altogether.
        A stream is answered if, and only if, it ends in `{"event": "answer", ...}`.
        """
        begun = await service.begin(form, name_client(request.scope))
        if STREAM in request.headers.get("accept", ""):
            return StreamingResponse(_stream_lines(service, begun), media_type=STREAM)
        return await _answer(begun)

    @app.get(
        "/search",
        response_model=RankingReply,
        responses=_describe_faults(400, 401, 422, 429),
        summary="The same as an address: what stands behind the # of a link of the page",
    )
    async def search_by_link(request: Request, link: Annotated[SearchLink, Query()]) -> Response:
        return await _answer(await service.begin(link.to_form(), name_client(request.scope)))

    async def _answer(begun: StartedSearch) -> Response:
        answer = await service.finish(begun)
        # As it is: FastAPI would check every field of it again.
        return Response(answer.model_dump_json(), media_type="application/json")

    app.include_router(router)


async def _stream_lines(service: Service, begun: StartedSearch) -> AsyncIterator[str]:
    """Yield progress, then the answer or what went wrong, as lines of JSON."""
    news: asyncio.Queue[SearchProgress | None] = asyncio.Queue()
    steps = begun.prepared.options.num_inference_steps
    answer = asyncio.create_task(service.finish(begun, news.put_nowait))
    answer.add_done_callback(lambda _: news.put_nowait(None))
    yield json.dumps({"event": "wait", "done": 0, "of": steps}) + "\n"
    try:
        while (progress := await news.get()) is not None:
            yield json.dumps({"event": progress.phase, "done": progress.done, "of": steps}) + "\n"
        yield json.dumps({"event": "answer", **(await answer).model_dump()}) + "\n"
    except CompoDiffError as error:
        yield json.dumps({"event": "error", "error": str(error)}) + "\n"
    finally:
        if answer.done() and not answer.cancelled() and answer.exception():
            service.metrics.failed_streams.inc()
        answer.cancel()  # of a client that typed on in the meantime


def _add_pictures(app: FastAPI, service: Service) -> None:
    picture = {"schema": {"type": "string", "format": "binary"}}
    shown: dict[str, Any] = {
        "response_class": Response,
        "responses": {200: {"content": {"image/*": picture}}, 304: {}, **_describe_faults(401, 404, 422)},
    }

    @app.get("/pictures", responses=_describe_faults(400, 401, 422), summary="List pictures of the index")
    def list_pictures(
        contains: Annotated[str, Query(max_length=MAX_TEXT, description="part of the name")] = "",
        picture_id: Annotated[list[str], Query(max_length=MAX_LISTED, description="these, if there")] = [],  # noqa: B006
        offset: Annotated[int, Query(ge=0, le=2**31)] = 0,
        limit: Annotated[int, Query(ge=1, le=MAX_LISTED)] = 50,
    ) -> PicturesReply:
        live = service.champion.live
        rows = find_named(contains, live.searcher.index, live.searcher.filters)
        if picture_id:
            row = live.searcher.index.row
            asked = {row[each] for each in picture_id if each in row}
            rows = [each for each in rows if each in asked] if contains else sorted(asked)
        return PicturesReply(
            count=len(rows),
            pictures=[make_picture_reply(live, row) for row in rows[offset : offset + limit]],
        )

    @app.get("/pictures/{picture_id:path}", summary="A picture as it is", **shown)
    def get_picture(request: Request, picture_id: str) -> Response:
        live = _find_live(service, picture_id)
        return _make_response(request, read_original(live, picture_id))

    @app.get("/thumbnails/{picture_id:path}", summary="A picture, small", **shown)
    def get_thumbnail(
        request: Request,
        picture_id: str,
        edge: Annotated[ThumbnailEdge, Query(description="of its longer side")] = ThumbnailEdge.MIDDLE,
    ) -> Response:
        live = _find_live(service, picture_id)
        return _make_response(request, service.thumbnails.get(live, picture_id, edge))


def _find_live(service: Service, picture_id: str) -> ServedModel:
    live = service.champion.live
    if picture_id not in live.searcher.index.row:
        raise HTTPException(404, f"the index holds no picture {picture_id[:200]!r}")
    return live


def _make_response(request: Request, shown: ServedPicture) -> Response:
    headers = {"ETag": shown.etag, "Cache-Control": _KEPT}
    if request.headers.get("if-none-match") == shown.etag:
        return Response(status_code=304, headers=headers)
    return Response(shown.content, media_type=shown.media_type, headers=headers)


def _add_operation(app: FastAPI, service: Service, token: str) -> None:
    @app.get("/health", summary="Whether queries are answered")
    def get_health() -> HealthReply:
        champion = service.champion
        return HealthReply(
            status="stale" if champion.fault else "ok",
            reason=champion.fault,
            model=champion.live.places.version,
            pictures=champion.live.searcher.index.manifest.count,
        )

    @app.get("/model", responses=_describe_faults(401), summary="The model, the index and the limits")
    def get_model() -> ModelReply:
        live, reloads = service.champion.live, service.champion.reloads
        return make_model_reply(live, service.limits, reloads, wants_token=bool(token))

    @app.get("/metrics", responses=_describe_faults(401), response_class=Response, summary="For Prometheus")
    def get_metrics() -> Response:
        return Response(generate_latest(service.metrics.registry), media_type=CONTENT_TYPE_LATEST)

    @app.post(
        "/session", status_code=204, responses=_describe_faults(400, 401, 422), summary="Keep the token in a cookie"
    )
    def open_session(given: Annotated[str, Form(alias="token", max_length=MAX_TEXT)] = "") -> Response:
        if token and not is_right_token(given, token):
            raise HTTPException(401, "this is not the token", {"WWW-Authenticate": "Bearer"})
        response = Response(status_code=204)
        if token:
            response.set_cookie(COOKIE, token, httponly=True, samesite="strict")
        return response


def _add_page(app: FastAPI, service: Service, *, is_open: bool) -> None:
    """Add the page; `is_open`: whoever may load it may also ask for what it shows."""

    @app.get("/", include_in_schema=False)
    def get_page(begun: BackgroundTasks) -> FileResponse:
        if is_open:  # they take a second, and the page will ask for them when it has loaded
            begun.add_task(service.openings.find, service.champion.live)
        return FileResponse(PAGE / "index.html", headers={"Cache-Control": "no-cache"})

    @app.get("/docs", include_in_schema=False)
    def get_docs() -> FileResponse:
        return FileResponse(PAGE / "docs.html", headers={"Cache-Control": "no-cache"})

    @app.get("/favicon.ico", include_in_schema=False)
    def get_icon() -> FileResponse:
        return FileResponse(PAGE / "icon.svg")

    app.mount("/page", StaticFiles(directory=PAGE))


def _add_errors(app: FastAPI) -> None:
    """Answer every error with {"error": "one line"}."""

    @app.exception_handler(CompoDiffError)
    def answer_known(_: Request, error: CompoDiffError) -> JSONResponse:
        status = 503 if isinstance(error, ResourceUnavailable) else 422
        return JSONResponse({"error": str(error)}, status)

    @app.exception_handler(RequestValidationError)
    def answer_invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        return JSONResponse({"error": "; ".join(_word_fault(fault) for fault in error.errors()[:5])}, 422)

    @app.exception_handler(StarletteHTTPException)
    def answer_refused(_: Request, error: StarletteHTTPException) -> JSONResponse:
        return JSONResponse({"error": str(error.detail)}, error.status_code, error.headers)


def _word_fault(fault: dict[str, Any]) -> str:
    place = ".".join(str(part) for part in fault["loc"] if part not in ("body", "query")) or "the body"
    given = fault.get("input")
    shown = f" (got {str(given)[:80]})" if isinstance(given, str | int | float) else ""
    return f"{place}: {fault['msg']}{shown}"
