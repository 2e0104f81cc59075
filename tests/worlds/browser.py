"""Debian's chromium without a window, and servers for it: the command itself, or the application in this process."""

import gc
import shutil
import socket
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import httpx
import uvicorn

from compodiff.serving.api import create_app
from compodiff.serving.champion import Champion

if TYPE_CHECKING:
    from selenium.webdriver.remote.webdriver import WebDriver
    from selenium.webdriver.remote.webelement import WebElement

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
COMMAND = Path(sys.executable).with_name("compodiff")

Held = TypeVar("Held")


@contextmanager
def served(project: Path) -> Iterator[str]:
    """`compodiff serve --model artifacts` in `project`, on a port of its own; its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    serving = subprocess.Popen([COMMAND, "serve", "--model", "artifacts", "--port", str(port)], cwd=project)
    try:
        until(lambda: _answers(f"http://127.0.0.1:{port}/health"), 120)
        yield f"http://127.0.0.1:{port}/"
    finally:
        serving.terminate()
        assert serving.wait(30) is not None


@contextmanager
def serving(champion: Champion, *, port: int = 0, token: str = "") -> Iterator[str]:
    """The application served in this process, which costs no start of a command; its address."""
    app = create_app(champion, token=token)
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="error", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        until(lambda: server.started)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/"
    finally:
        server.should_exit = True
        thread.join(20)
        with warnings.catch_warnings():  # a connection that the browser opened while the server closed
            warnings.simplefilter("ignore", ResourceWarning)
            gc.collect()


@contextmanager
def browser() -> "Iterator[WebDriver]":
    """Chromium, in English, telling what its console is told."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--hide-scrollbars"):
        options.add_argument(argument)
    driver = webdriver.Chrome(options, Service(str(DRIVER)))
    try:
        yield driver
    finally:
        driver.quit()


def until(holds: Callable[[], Held], seconds: float = 20) -> Held:
    """Wait for something to hold; what it is then."""
    end = time.monotonic() + seconds
    while not (value := holds()):
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)
    return value


def open_page(driver: "WebDriver", address: str) -> None:
    """Open the page, or follow a link into it, and wait until it can be used."""
    driver.get(address)
    until(lambda: driver.execute_script("return document.body.dataset.ready"))


def found(driver: "WebDriver") -> list[str]:
    """The ids of the pictures that were found, once no search is under way."""
    shown = """return document.body.dataset.busy ? []
        : [...document.querySelectorAll('#grid .card')].map((card) => card.dataset.id)"""
    return until(lambda: driver.execute_script(shown))


def one(driver: "WebDriver", selector: str) -> "WebElement":
    """The first element that fits a CSS selector."""
    return driver.find_element("css selector", selector)


def pick(driver: "WebDriver", name: str) -> None:
    """Choose the one picture of the gallery with this in its name as the reference."""
    one(driver, "#add").click()
    one(driver, "#browse").click()
    one(driver, "#contains").send_keys(name)
    until(lambda: one(driver, "#gallery-count").text == "1 pictures")
    one(driver, "#gallery-grid .pick").click()


def list_broken_rules(page: "WebDriver", *rules: str) -> list[str]:
    """What axe, a checker of accessibility (WCAG 2.1, levels A and AA, and good practice), finds wrong.

    Of a wall of cards, which are all alike, it looks at the first.
    """
    if not page.execute_script("return Boolean(window.axe)"):
        page.execute_script(files("axe_core_python").joinpath("axe.min.js").read_text(encoding="utf-8"))
    options = {"runOnly": list(rules)} if rules else {}
    look = "axe.run({exclude: ['.card:nth-child(n + 4)']}, arguments[0])"
    broken = page.execute_async_script(f"{look}.then((result) => arguments[1](result.violations))", options)
    return [f"{rule['id']}: {node['html'][:150]}" for rule in broken for node in rule["nodes"]]


def prefer_colours(page: "WebDriver", *schemes: str) -> None:
    """As a system in light or dark colours; without a scheme as usual."""
    features = [{"name": "prefers-color-scheme", "value": scheme} for scheme in schemes]
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})


def _answers(address: str) -> bool:
    try:
        return httpx.get(address).status_code == 200
    except httpx.TransportError:
        return False
