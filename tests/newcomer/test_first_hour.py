"""A newcomer's first hour: the commands of README.md and the tutorials, as written, in a fresh clone.

The clone's .venv is the environment of the tests; that `make` makes one is tests/install's, by an installer that
fetches nothing. One `make run` of a smaller pipeline serves all pages, and each command finds the files that its page
says the reader has. docs/tutorials/own-domain.md has a test of its own (tests/e2e/test_own_domain.py).
"""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from factories import draw_noise, encode_picture
from worlds.foreign import write_lines, write_parquet
from worlds.operated import BIN, SMALL, change_values, environment, healthy
from worlds.pages import LEFT_OUT, PAGES, REFUSED, Step, list_steps

ROOT = Path(__file__).parents[2]
pytestmark = [pytest.mark.slow, pytest.mark.timeout(7200)]


class Reader:
    """Somebody at a shell in the clone."""

    def __init__(self, clone: Path, home: Path) -> None:
        self.clone = clone
        self.settings = environment(
            clone, HOME=str(home), PYTHONPATH=f"{clone}:{clone / 'src'}", XDG_STATE_HOME=str(home / "state")
        )
        self.servers: list[subprocess.Popen[bytes]] = []

    def do(self, step: Step) -> None:
        if step.command.startswith("export "):
            for word in step.command.removeprefix("export ").split():
                name, _, value = word.partition("=")
                self.settings[name] = value
            return
        command = step.command.replace(
            "-F reference=@cat.jpg", f"-F reference=@{self.settings['HOME']}/Pictures/cat.jpg"
        )
        if step.is_server:
            self.start(command)
            return
        done = subprocess.run(
            ["bash", "-c", command], cwd=self.clone, env=self.settings, capture_output=True, text=True, check=False
        )
        said = f"{step.page}: {command}\n{done.stdout[-1500:]}\n{done.stderr[-1500:]}"
        if refused := next((line for begin, line in REFUSED.items() if command.startswith(begin)), ""):
            assert refused in done.stderr, said
        else:
            assert done.returncode == 0, said

    def start(self, command: str) -> None:
        """Start a server in the place of one that listens there already, and wait until it has begun."""
        if command.startswith("compodiff serve"):
            self.stop("compodiff")
        log = self.clone.parent / f"server-{len(self.servers)}.log"
        with log.open("wb") as file:
            self.servers.append(
                subprocess.Popen(
                    ["bash", "-c", f"exec {command}"], cwd=self.clone, env=self.settings, stdout=file, stderr=file,
                    start_new_session=True,
                )
            )  # fmt: skip
        deadline = time.monotonic() + 300
        while not self.is_ready(command, log.read_text()):
            assert self.servers[-1].poll() is None, f"{command}: {log.read_text()[-1500:]}"
            assert time.monotonic() < deadline, f"{command} is not up: {log.read_text()[-1500:]}"
            time.sleep(0.5)
        if command.endswith("--watch"):
            self.stop("--watch")  # as by Ctrl-C: what follows changes the index itself

    def is_ready(self, command: str, said: str) -> bool:
        if command.startswith("prefect server"):  # which shows its address when the port is free, before it listens
            return "Check out the dashboard" in said and healthy("http://127.0.0.1:4200/api")
        ready = {"compodiff serve": "pictures, ", "compodiff index": "watching ", "prefect worker": "started!"}
        return next(word for begin, word in ready.items() if command.startswith(begin)) in said

    def stop(self, program: str = "") -> None:
        for server in self.servers:
            if server.poll() is None and program in " ".join(map(str, server.args)):
                os.killpg(server.pid, signal.SIGTERM)
                try:
                    server.wait(30)
                except subprocess.TimeoutExpired:
                    os.killpg(server.pid, signal.SIGKILL)
                    server.wait()


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    clone, home = tmp_path_factory.mktemp("clones") / "compodiff", tmp_path_factory.mktemp("home")
    subprocess.run(["git", "clone", "--quiet", "--no-hardlinks", ROOT, clone], check=True)
    (clone / ".venv").mkdir()
    for path in BIN.parent.iterdir():
        if path.name != ".installed":
            (clone / ".venv" / path.name).symlink_to(path)
    (clone / ".venv" / ".installed").touch()  # make installs into no environment that is not the clone's
    params = change_values(yaml.safe_load((clone / "params.yaml").read_text()), SMALL)
    (clone / "params.yaml").write_text(yaml.safe_dump(params))
    prepare_home(home)
    prepare_clone(clone)
    reader = Reader(clone, home)
    reader.do(Step("README.md", "make run"))  # of which every page says that it has been
    yield reader
    reader.stop()


def prepare_home(home: Path) -> None:
    """What the pages say that a reader has: pictures."""
    (home / "Pictures" / "2026").mkdir(parents=True)
    (home / "Downloads").mkdir()
    colours = {"cat.jpg": "red", "dog.jpg": "blue", "2026/garden.jpg": "green", "../Downloads/boat.jpg": "white"}
    for name, colour in colours.items():
        (home / "Pictures" / name).write_bytes(encode_picture(colour, "JPEG"))


def prepare_clone(clone: Path) -> None:
    """What the pages say that a reader has: a benchmark, triplets, captions, a table of stars."""
    for folder in ("my-benchmark", "my-benchmark-to-choose-by"):
        gallery = clone / folder / "gallery"
        gallery.mkdir(parents=True)
        for name, colour in (("cat", "red"), ("cat-asleep", "orange"), ("dog", "blue")):
            (gallery / f"{name}.jpg").write_bytes(encode_picture(colour, "JPEG"))
        query = {"reference": "cat.jpg", "relative_caption": "sleeping", "target": "cat-asleep.jpg", "group": "pose"}
        write_lines(clone / folder / "queries.jsonl", [query])
    red, blue = encode_picture("red", "JPEG"), encode_picture("blue", "JPEG")
    noise = [encode_picture(draw_noise(seed)) for seed in range(6)]  # which no picture of the benchmark is like
    rows = {"reference_image": noise[:3], "target_image": noise[3:], "relative_caption": ["make it blue"] * 3}
    write_parquet(clone / "my-triplets" / "0.parquet", rows | {"after": noise[3:]})
    (clone / "photos").mkdir()
    for name, content in (("a.jpg", red), ("b.jpg", blue)):
        (clone / "photos" / name).write_bytes(content)
    edit = {"reference_image": "a.jpg", "target_image": "b.jpg", "relative_caption": "make it blue"}
    write_lines(clone / "edits.jsonl", [edit])
    things = [
        "cat",
        "dog",
        "horse",
        "cow",
        "pig",
        "sheep",
        "lion",
        "tiger",
        "bear",
        "wolf",
        "car",
        "bus",
        "train",
        "bicycle",
        "boat",
        "apple",
        "pear",
        "banana",
        "cherry",
    ]
    captions = [f"a {colour} {thing} on a table" for colour in ("red", "blue", "green", "black") for thing in things]
    (clone / "captions.txt").write_text("".join(f"{caption} {number}\n" for number in range(5) for caption in captions))
    (clone / "stars.csv").write_text("path,stars\ncat.jpg,5\n2026/garden.jpg,3\n")


def test_every_command_that_is_left_out_stands_on_a_page() -> None:
    told = [step.command for page in PAGES for step in list_steps(page)]
    assert [begin for begin in LEFT_OUT if not any(command.startswith(begin) for command in told)] == []
    assert len(told) >= 60


@pytest.mark.parametrize("page", PAGES)
def test_the_commands_of_a_page_run_as_they_stand(page: str, reader: Reader) -> None:
    try:
        for step in list_steps(page):
            if not step.why_left_out:
                began = time.monotonic()
                reader.do(step)
                print(f"{time.monotonic() - began:6.0f} s  {step.command}")  # noqa: T201
    finally:
        reader.stop()
