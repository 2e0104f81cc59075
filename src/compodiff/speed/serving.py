"""Load on `compodiff serve` over loopback: many clients, mixed and partly broken requests. Run: compodiff bench serve.

Three questions: does anything but the request break (no 5xx), does memory stay flat, and what do queries that share the
model's work gain over one at a time.
"""

import asyncio
import io
import random
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil
from PIL import Image

from compodiff.errors import ResourceUnavailable

_START_SECONDS = 180
_SHARE_OF_MEMORY_TO_SETTLE = 0.4  # of the run; caches fill and the allocator finds its level
_COLOURS = ("red", "green", "blue", "yellow", "brown", "black", "purple", "orange")
_BROKEN: Sequence[dict[str, Any]] = (
    {"data": {"text": "a", "k": 0}},
    {"data": {"text": "a", "k": 1_000_000}},
    {"data": {"text": "a" * 100_000}},
    {"data": {"text": "a", "filter": "size >"}},
    {"data": {"text": "a", "reference_id": "../../etc/passwd"}},
    {"data": {"text": "a"}, "files": {"reference": b""}},
    {"data": {"text": "a"}, "files": {"reference": b"no picture"}},
    {"data": {}},
    {"content": b"\x00", "headers": {"Content-Type": "multipart/form-data; boundary=x"}},
)


@dataclass
class LoadResult:
    """What came back in one phase."""

    seconds: list[float] = field(default_factory=list)  # of the queries that were answered
    statuses: Counter[int] = field(default_factory=Counter)
    wall: float = 0.0
    cpu: float = 0.0  # seconds of the server's

    def summarise(self) -> dict[str, Any]:
        """Return throughput, percentiles in milliseconds, and how often each status came."""
        ordered = sorted(self.seconds) or [0.0]
        return {
            "queries_per_second": round(len(self.seconds) / self.wall, 1),
            "p50_ms": round(1000 * ordered[len(ordered) // 2], 1),
            "p95_ms": round(1000 * ordered[int(0.95 * (len(ordered) - 1))], 1),
            "server_cpu_ms_per_query": round(1000 * self.cpu / max(1, len(self.seconds)), 1),
            "statuses": {str(status): count for status, count in sorted(self.statuses.items())},
        }


def run(project: Path, arguments: Sequence[str], *, clients: int, seconds: float, seed: int = 17) -> dict[str, Any]:
    """Start a server in `project`, ask it one query at a time, then from many clients at once, and stop it.

    Args:
        project: folder to start it in.
        arguments: of `compodiff serve`, such as --model and --index.
        clients: connections that ask at once, each the next query when it has its answer.
        seconds: of the load; a quarter of it before, one at a time.
        seed: of the mixture of requests.

    Raises:
        ResourceUnavailable: the server did not start.
    """
    with run_server(project, arguments) as (address, process):
        return asyncio.run(_measure_load(address, process, clients, seconds, random.Random(seed)))


@contextmanager
def run_server(project: Path, arguments: Sequence[str]) -> Iterator[tuple[str, psutil.Process]]:
    """Run `compodiff serve` in `project` for as long as the block lasts; its address and process.

    Raises:
        ResourceUnavailable: it did not start.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "compodiff.cli", "serve", "--port", str(port), *arguments]
    with subprocess.Popen(command, cwd=project, stdout=subprocess.DEVNULL) as server:
        try:
            address = f"http://127.0.0.1:{port}"
            _await_health(address, server)
            yield address, psutil.Process(server.pid)
        finally:
            server.terminate()


def _await_health(address: str, server: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + _START_SECONDS
    while server.poll() is None and time.monotonic() < deadline:
        try:
            if httpx.get(f"{address}/health").status_code == 200:
                return
        except httpx.TransportError:
            pass  # it does not listen yet; later it answers 503 until its model is open
        time.sleep(0.1)
    raise ResourceUnavailable("compodiff serve did not start; run it by itself to see why")


async def _measure_load(
    address: str, server: psutil.Process, clients: int, seconds: float, generator: random.Random
) -> dict[str, Any]:
    async with AsyncExitStack() as stack:
        # A client each: one pool of many connections costs more than the server at work.
        connected = [
            await stack.enter_async_context(httpx.AsyncClient(base_url=address, timeout=120, verify=False))  # noqa: S501
            for _ in range(clients)
        ]
        listed = (await connected[0].get("/pictures", params={"limit": 200})).json()["pictures"]
        phase = _Phase(connected, server, [picture["picture_id"] for picture in listed], generator)
        await phase.run(clients=2, seconds=min(2.0, seconds / 8))  # warm
        alone = await phase.run(clients=1, seconds=seconds / 4)
        memory: list[int] = []
        watching = asyncio.create_task(_watch(server, memory, seconds / 100))
        together = await phase.run(clients=clients, seconds=seconds)
        watching.cancel()
    settled = memory[int(_SHARE_OF_MEMORY_TO_SETTLE * len(memory)) :]
    one, many = alone.summarise(), together.summarise()
    return {
        "clients": clients,
        "seconds": seconds,
        "one_at_a_time": one,
        "together": many,
        "gain": round(many["queries_per_second"] / max(one["queries_per_second"], 0.1), 2),
        "gain_by_cpu": round(one["server_cpu_ms_per_query"] / max(many["server_cpu_ms_per_query"], 0.1), 2),
        "server_errors": sum(count for status, count in together.statuses.items() if status >= 500),
        "memory_mib": {"settled": settled[0] >> 20, "end": settled[-1] >> 20, "peak": max(memory) >> 20},
    }


async def _watch(server: psutil.Process, memory: list[int], every: float) -> None:
    while True:
        memory.append(server.memory_info().rss)
        await asyncio.sleep(every)


@dataclass(frozen=True)
class _Phase:
    connected: Sequence[httpx.AsyncClient]
    server: psutil.Process
    ids: Sequence[str]
    generator: random.Random

    async def run(self, *, clients: int, seconds: float) -> LoadResult:
        load = LoadResult()
        began, spent = time.perf_counter(), _read_cpu_seconds(self.server)

        async def ask_on(client: httpx.AsyncClient) -> None:
            while time.perf_counter() - began < seconds:
                await self._ask(client, load)

        await asyncio.gather(*(ask_on(client) for client in self.connected[:clients]))
        load.wall, load.cpu = time.perf_counter() - began, _read_cpu_seconds(self.server) - spent
        return load

    async def _ask(self, client: httpx.AsyncClient, load: LoadResult) -> None:
        broken = self.generator.random() < 0.1
        request = self.generator.choice(_BROKEN) if broken else _make_query(self.ids, self.generator)
        started = time.perf_counter()
        answer = await client.post("/search", **request)
        load.statuses[answer.status_code] += 1
        if answer.status_code == 200:
            load.seconds.append(time.perf_counter() - started)
        elif answer.status_code == 429:
            await asyncio.sleep(float(answer.headers.get("retry-after", "1")))


def _read_cpu_seconds(server: psutil.Process) -> float:
    times = server.cpu_times()
    return float(times.user + times.system)


def _make_query(ids: Sequence[str], generator: random.Random) -> dict[str, Any]:
    """Return a good query: mostly a picture of the gallery and a text; some by text alone, some with an upload."""
    data: dict[str, Any] = {"text": f"make it {generator.choice(_COLOURS)} {generator.randrange(1000)}", "k": 24}
    kind = generator.random()
    if kind < 0.1:
        return {"data": data}
    if kind < 0.15:
        return {"data": data, "files": {"reference": _upload(generator)}}
    if kind < 0.25:
        data["seed"] = generator.randrange(1000)
    if kind < 0.3:
        data["negative"] = generator.choice(_COLOURS)
    return {"data": {**data, "reference_id": generator.choice(ids)}}


def _upload(generator: random.Random) -> bytes:
    stream = io.BytesIO()
    Image.frombytes("RGB", (8, 8), generator.randbytes(192)).resize((200, 200)).save(stream, "PNG")
    return stream.getvalue()
