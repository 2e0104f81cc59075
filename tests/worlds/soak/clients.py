"""People who search through `compodiff serve` all the time, and what each of them got."""

import random
import threading
import time
from dataclasses import dataclass, field

import httpx

CLIENTS = 20
_THINK_SECONDS = (1.5, 4.5)
_TEXTS = ("in blue", "a woman", "with dark skin", "smiling", "pointing left", "as a cat", "three o'clock", "in green")


@dataclass(frozen=True)
class Reply:
    """What one search came to: HTTP's status, 0 where there was no answer at all, and `model` says why."""

    at: float
    status: int
    seconds: float
    model: str


@dataclass
class Clients:
    """Twenty of them, each with a connection of its own, until `stop`."""

    address: str
    pictures: list[str]
    seed: int
    replies: list[Reply] = field(default_factory=list)
    _stopping: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def start(self) -> None:
        self._threads = [threading.Thread(target=self._search, args=(each,), daemon=True) for each in range(CLIENTS)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    def _search(self, number: int) -> None:
        rng = random.Random(1000 * self.seed + number)
        with httpx.Client(base_url=self.address, timeout=30) as client:
            while not self._stopping.wait(rng.uniform(*_THINK_SECONDS)):
                self.replies.append(self._ask(client, rng))

    def _ask(self, client: httpx.Client, rng: random.Random) -> Reply:
        asked = {"reference_id": rng.choice(self.pictures), "text": rng.choice(_TEXTS), "k": "5"}
        began = time.monotonic()
        try:
            answer = client.post("/search", data=asked)
        except httpx.HTTPError as error:
            return Reply(began, 0, time.monotonic() - began, type(error).__name__)
        model = answer.json()["model"] if answer.status_code == 200 else answer.text[:200]
        return Reply(began, answer.status_code, time.monotonic() - began, model)
