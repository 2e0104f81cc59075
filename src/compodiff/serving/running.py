"""The process of a server: its port is bound first, then model and index are opened, and a folder is indexed."""

import errno
import logging
import os
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from compodiff.errors import InputInvalid, ResourceUnavailable
from compodiff.serving.access import require_sendable_token
from compodiff.serving.doorway import Doorway
from compodiff.serving.records import ServerRecord, remove_record, write_record
from compodiff.serving.trials import Trial

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from compodiff.encoders.reranking import Reranking
    from compodiff.serving.champion import Champion, ServedModel
    from compodiff.serving.indexing import FolderIndexer
    from compodiff.serving.waking import Tell

_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_ANY = ("0.0.0.0", "::")  # noqa: S104
# torch keeps compiled products by shape, a thousand of each kind, and batches of queries have thousands of shapes:
# memory would grow by half a gigabyte. Read when torch is imported.
_CACHES = {"LRU_CACHE_CAPACITY": "64", "ONEDNN_PRIMITIVE_CACHE_CAPACITY": "64"}
# Longer than clients and proxies keep a connection that nobody uses (5 and 60 s are usual): where the server closes it
# first, a request that is just on its way gets no answer. uvicorn's own is 5.
_IDLE_SECONDS = 75


@dataclass(frozen=True)
class ServePlan:
    """What is served, where, and who is told.

    Attributes:
        model: as somebody named it; None for the one that `choose_model` finds.
        index: a folder of pictures, or an index; None for the model's own.
        pictures: returns a folder of pictures to index while it is searched; called when the port is bound.
        host, port: to listen on; port 0 for any that is free.
        token: asked of every request; "" for none.
        refresh: seconds between looks for a newer model or index.
        reranking: opens what looks at the first pictures of each answer again; None for nothing. Searches in the shell
            do not use such a server: it answers otherwise.
        trial: what is tried beside the model. Searches in the shell do not use a server with a canary either.
        doorway: how requests come in.
        say: is called with each line for people.
        show: is called with what it does until it answers, and then with "".
        is_quiet: draw no bar where a folder is indexed.
        on_ready: is called with the address and the number of pictures when queries are answered.
    """

    model: str | None = None
    index: Path | None = None
    pictures: "Callable[[Tell], Path] | None" = None
    host: str = "127.0.0.1"
    port: int = 8000
    token: str = ""
    refresh: float = 2.0
    reranking: "Callable[[], Reranking | None] | None" = None
    trial: Trial = field(default_factory=Trial)
    doorway: Doorway = field(default_factory=Doorway)
    say: Callable[[str], None] = lambda line: None
    show: Callable[[str], None] = lambda text: None
    is_quiet: bool = False
    on_ready: Callable[[str, int], None] = lambda address, count: None


def run_server(plan: ServePlan) -> None:
    """Serve until a signal ends the process; whatever keeps the model from opening is raised.

    Raises:
        InputInvalid: the address can be reached by others and no token is set, no client can send the token,
            or the doorway cannot be as it is told.
        ResourceUnavailable: the port cannot be listened on.
    """
    import uvicorn

    from compodiff.serving.waking import WakingServer

    logging.getLogger("python_multipart").setLevel(logging.ERROR)  # of a broken form its sender is told
    for name, entries in _CACHES.items():
        os.environ.setdefault(name, entries)
    host, token = plan.host, plan.token
    require_sendable_token(token)
    if host not in _LOOPBACK and not token:
        raise InputInvalid(f"--host {host} can be reached by others; set COMPODIFF_TOKEN, or stay on 127.0.0.1")
    # Names are checked on loopback only: elsewhere the token keeps other sites' pages out.
    hosts = ("127.0.0.1", "localhost", "[::1]") if host in _LOOPBACK else ("*",)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With the protocol named, asyncio sets TCP_NODELAY; else each answer waits 40 ms for an acknowledgement.
    with socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listening:
        address = _listen(listening, host, plan.port)
        opening = _Opening(plan, address, hosts)
        waking = WakingServer(opening.make_app, token=token, hosts=hosts)
        served = plan.doorway.wrap(waking)
        plan.say(f"waking the model: {address}")
        # Headers of proxies are the doorway's.
        settings = uvicorn.Config(
            served,
            log_level="warning",
            timeout_graceful_shutdown=10,
            timeout_keep_alive=_IDLE_SECONDS,
            proxy_headers=False,
        )
        server = uvicorn.Server(settings)
        waking.on_failure = lambda: setattr(server, "should_exit", True)
        waking.on_end = lambda: remove_record(os.getpid())
        server.run(sockets=[listening])
        if waking.failure is not None:
            raise waking.failure


def _listen(listening: socket.socket, host: str, port: int) -> str:
    """Bind the port, and return the address."""
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
        listening.listen()
    except OSError as error:
        way_out = (
            "try --port 0" if error.errno in (errno.EADDRINUSE, errno.EACCES) else "name an address of this machine"
        )
        raise ResourceUnavailable(f"cannot listen on {host}:{port}: {error.strerror}; {way_out}") from error
    return f"http://{f'[{host}]' if ':' in host else host}:{listening.getsockname()[1]}"


def _show_as_well(tell: "Tell", show: Callable[[str], None]) -> "Tell":
    def tell_both(message: str, progress: float) -> None:
        tell(message, progress)
        show(message)

    return tell_both


@dataclass(frozen=True)
class _Opening:
    """Opens what is served."""

    plan: ServePlan
    address: str
    hosts: tuple[str, ...]

    def make_app(self, tell_page: "Tell") -> "ASGIApp":
        """Open model and index, and return the application over them; an index that is wanting is begun."""
        from compodiff.watching.tracing import start_tracing

        start_tracing("compodiff-serve")
        plan, tell = self.plan, _show_as_well(tell_page, self.plan.show)
        tell("waking up: loading torch", 0.1)
        import torch  # noqa: F401

        tell("waking up: loading the other libraries", 0.4)
        from compodiff.serving.api import create_app
        from compodiff.serving.champion import Champion
        from compodiff.serving.places import find_places

        index, indexer = plan.index, None
        if plan.pictures is not None:
            index = plan.pictures(tell)
            indexer = self._begin_index(index, tell_page)
        tell("waking up: opening the model and the index", 0.7)
        reranking = None if plan.reranking is None else plan.reranking()
        champion = Champion(lambda: find_places(plan.model, index), reranking)
        watch = plan.trial.open(index, reranking)
        # Queries by words and ids are answered meanwhile.
        encoder = champion.live.searcher.composer.encoder
        threading.Thread(target=encoder.open_pictures, name="pictures", daemon=True).start()
        self._tell_ready(champion)
        if indexer is not None:
            indexer.run_in_background()
        return create_app(champion, token=plan.token, hosts=self.hosts, refresh_seconds=plan.refresh, watch=watch)

    def _begin_index(self, folder: Path, tell: "Tell") -> "FolderIndexer":
        from compodiff.search.locate import choose_index_place, choose_model
        from compodiff.serving.indexing import FolderIndexer

        place = choose_index_place(folder)
        tell("waking up: opening the encoder", 0.5)
        self.plan.show("")  # a bar of its own follows
        model = choose_model(self.plan.model, folder)
        indexer = FolderIndexer(folder, place, model, tell, is_quiet=self.plan.is_quiet)
        indexer.begin()
        return indexer

    def _tell_ready(self, champion: "Champion") -> None:
        count = champion.live.searcher.index.manifest.count
        self.plan.show("")
        self.plan.say(f"{count:,} pictures, {champion.live.places.version}: {self.address}")
        self.plan.on_ready(self.address, count)
        if self.plan.reranking is None and not self.plan.trial.canary:
            champion.on_change = self._record
            self._record(champion.live)

    def _record(self, live: "ServedModel") -> None:
        """Let searches in the shell find this server, with the model and index that it has open now."""
        address = self.address
        for any_host in _ANY:
            address = address.replace(f"//{any_host}:", "//127.0.0.1:").replace(f"//[{any_host}]:", "//[::1]:")
        places, token = live.places, self.plan.token
        record = ServerRecord(
            os.getpid(), address, token, places.identity, str(places.index.resolve()), str(live.searcher.pictures.root)
        )
        write_record(record)
