"""`compodiff serve`: the API and the page, on this machine unless told otherwise."""

import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from compodiff.cli.options import Rerank, RerankTop, open_reranking
from compodiff.cli.output import echo
from compodiff.errors import InputInvalid, ResourceUnavailable
from compodiff.project import ATTRIBUTION, find_project_root
from compodiff.search.locate import CHAMPION, ModelParts, find_gallery_of, find_index_folder, find_model_parts

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from compodiff.serving.champion import ServedPaths
    from compodiff.serving.live_watch import LiveWatch
    from compodiff.serving.waking import Tell

_LOOPBACK = ("127.0.0.1", "localhost", "::1")
# torch keeps compiled products by shape, a thousand of each kind, and batches of queries have thousands of shapes:
# memory would grow by half a gigabyte. Read when torch is imported.
_CACHES = {"LRU_CACHE_CAPACITY": "64", "ONEDNN_PRIMITIVE_CACHE_CAPACITY": "64"}


app = typer.Typer()


@app.command("serve")
def serve(
    *,
    index: Annotated[Path | None, typer.Option(help="A folder after `compodiff index build`. Default: emoji.")] = None,
    model: Annotated[str, typer.Option(help="An alias, followed as it moves, or a folder.")] = CHAMPION,
    host: Annotated[str, typer.Option(help="Address to listen on; others than loopback want a token.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 for any that is free.")] = 8000,
    token: Annotated[
        str, typer.Option(envvar="COMPODIFF_TOKEN", help="Asked of every request.", show_default=False)
    ] = "",
    rerank: Rerank = None,
    rerank_top: RerankTop = 10,
    refresh: Annotated[float, typer.Option(min=0.1, help="Seconds between looks for a newer model or index.")] = 2.0,
    shadow: Annotated[
        str, typer.Option(help="A model that is asked a share of the queries when idle; its answers are compared.")
    ] = "",
    canary: Annotated[
        str, typer.Option(help="A model that answers a share of the clients, until it fails or is slower.")
    ] = "",
    share: Annotated[float, typer.Option(min=0, max=1, help="Of queries, or of clients, for either.")] = 0.1,
    trial_log: Annotated[str, typer.Option(help="File of JSON lines on shadow and canary; - for stdout.")] = "",
    keep_queries: Annotated[
        Path | None, typer.Option(help="File for embeddings of queries, which `compodiff drift` looks at.")
    ] = None,
    rate: Annotated[str, typer.Option(help="How often one client may ask, such as 120/minute.")] = "",
    access_log: Annotated[str, typer.Option(help="File of JSON lines, one a request; - for stdout.")] = "",
    proxy: Annotated[
        list[str] | None, typer.Option(help="Address or network of a proxy whose X-Forwarded-For is believed.")
    ] = None,
) -> None:
    """Serve search over one index: an API and a page for people."""
    import logging
    import os
    import socket

    import uvicorn

    logging.getLogger("python_multipart").setLevel(logging.ERROR)  # of a broken form its sender is told

    for name, entries in _CACHES.items():
        os.environ.setdefault(name, entries)

    from compodiff.serving.doorway import Doorway
    from compodiff.serving.waking import WakingServer

    if host not in _LOOPBACK and not token:
        raise InputInvalid(f"--host {host} can be reached by others; set COMPODIFF_TOKEN, or stay on 127.0.0.1")
    # Names are checked on loopback only: elsewhere the token keeps other sites' pages out.
    hosts = ("127.0.0.1", "localhost", "[::1]") if host in _LOOPBACK else ("*",)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With the protocol named, asyncio sets TCP_NODELAY; else each answer waits 40 ms for an acknowledgement.
    with socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((host, port))
            listening.listen()
        except OSError as error:
            raise ResourceUnavailable(f"cannot listen on {host}:{port}: {error.strerror}; try --port 0") from error
        address = f"http://{f'[{host}]' if ':' in host else host}:{listening.getsockname()[1]}"
        echo(f"waking the model: {address}")
        trial = _Trial(shadow, canary, share, trial_log, keep_queries)
        plan = _ServePlan(model, index, token, hosts, refresh, address, (rerank, rerank_top), trial)
        waking = WakingServer(plan.make_app, token=token, hosts=hosts)
        served = Doorway(rate, access_log, proxy or ()).wrap(waking)
        # Headers of proxies are the doorway's.
        settings = uvicorn.Config(served, log_level="warning", timeout_graceful_shutdown=10, proxy_headers=False)
        server = uvicorn.Server(settings)
        waking.on_failure = lambda: setattr(server, "should_exit", True)
        server.run(sockets=[listening])
        if waking.failure is not None:
            raise waking.failure


@dataclass(frozen=True)
class _ServePlan:
    """What is served, and how; `make_app` opens it."""

    model: str
    index: Path | None
    token: str
    hosts: tuple[str, ...]
    refresh: float
    address: str
    rerank: tuple[str | None, int]
    trial: "_Trial"

    def make_app(self, tell: "Tell") -> "ASGIApp":
        """Open model and index, and return the application over them."""
        from compodiff.watching.tracing import start_tracing

        start_tracing("compodiff-serve")
        tell("waking up: loading torch", 0.1)
        import torch  # noqa: F401

        tell("waking up: loading the other libraries", 0.4)
        from compodiff.serving.api import create_app
        from compodiff.serving.champion import Champion

        tell("waking up: opening the model and the index", 0.7)
        champion = Champion(lambda: _find_places(self.model, self.index), open_reranking(*self.rerank))
        watch = self.trial.open(self.index)
        count = champion.live.searcher.index.manifest.count
        # Queries by words and ids are answered meanwhile.
        encoder = champion.live.searcher.composer.encoder
        threading.Thread(target=encoder.open_pictures, name="pictures", daemon=True).start()
        echo(f"{count:,} pictures, {champion.live.places.version}: {self.address}")
        return create_app(champion, token=self.token, hosts=self.hosts, refresh_seconds=self.refresh, watch=watch)


@dataclass(frozen=True)
class _Trial:
    """Models beside the one that is served, and what is kept of the queries."""

    shadow: str
    canary: str
    share: float
    log: str
    keep_queries: Path | None

    def open(self, index: Path | None) -> "LiveWatch":
        """Open what was asked for, over the same index."""
        from compodiff.drift.reservoir import QueryReservoir
        from compodiff.serving.canary import Canary
        from compodiff.serving.champion import Champion
        from compodiff.serving.json_log import open_json_log
        from compodiff.serving.live_watch import LiveWatch
        from compodiff.serving.shadow import Shadow

        log = open_json_log("compodiff.trial", self.log) if self.log else None

        def open_model(model: str) -> Champion:
            return Champion(lambda: _find_places(model, index))

        return LiveWatch(
            shadow=Shadow(open_model(self.shadow), self.share, log) if self.shadow else None,
            canary=Canary(open_model(self.canary), self.share, log) if self.canary else None,
            kept=QueryReservoir(self.keep_queries) if self.keep_queries else None,
        )


def _find_places(model: str, index: Path | None) -> "ServedPaths":
    """Return where the model and the index are now; asked again and again, as an alias may move."""
    from compodiff.serving.champion import ServedPaths

    parts, version = _find_model_and_version(model)
    if index is None:
        gallery = find_gallery_of(parts)
        own = (None, "") if gallery is None else (gallery.resolve(), ATTRIBUTION)
        return ServedPaths(model, version, parts.composed, parts.encoder, parts.index, *own)
    return ServedPaths(model, version, parts.composed, parts.encoder, find_index_folder(index.resolve()))


def _find_model_and_version(model: str) -> tuple[ModelParts, str]:
    """Return a model's folders and what it is, in words: of one version, though the alias may move meanwhile."""
    while True:
        version = _describe_version(model)
        parts = find_model_parts(model)
        if _describe_version(model) == version:
            return parts, version


def _describe_version(model: str) -> str:
    if not model.startswith("models:"):
        return model
    from compodiff.tracking.own_store import find_stored_version
    from compodiff.tracking.registry import MODEL, find_number_at
    from compodiff.tracking.store import open_store

    project, alias = find_project_root(), model.rpartition("@")[2]
    stored = find_stored_version(project, MODEL, alias)
    number = stored.number if stored else find_number_at(open_store(project), alias)
    return f"compodiff version {number}" if number else model
