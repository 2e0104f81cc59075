"""The settings of flows/ stand before any test here imports Prefect; the command line runs in a small project."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from worlds.command import make_shell
from worlds.search import places_in

import flows  # noqa: F401

if TYPE_CHECKING:
    from selenium.webdriver.remote.webdriver import WebDriver

_EXPECTED = (" 422 ", " 413 ", "/api/state")  # what the console says of queries that are refused


@pytest.fixture
def project(search_project) -> Path:
    return search_project


@pytest.fixture
def compodiff(project, monkeypatch, capsys) -> Callable[..., tuple[int, str, str]]:
    """Run the command line in the project, in this process; return (exit code, stdout, stderr)."""
    monkeypatch.chdir(project)
    return make_shell(monkeypatch, capsys)


@pytest.fixture(scope="module")
def address(search_project) -> Iterator[str]:
    """A server of 157 pictures."""
    from worlds.browser import serving

    from compodiff.serving.champion import Champion

    with serving(Champion(lambda: places_in(search_project / "artifacts"))) as address:
        yield address


@pytest.fixture(scope="module")
def chromium() -> "Iterator[WebDriver]":
    from worlds.browser import browser

    with browser() as driver:
        yield driver


@pytest.fixture
def page(chromium, address) -> "Iterator[WebDriver]":
    """The page, opened; nothing goes wrong in it."""
    from worlds.browser import open_page

    chromium.set_window_size(1366, 900)
    chromium.get("about:blank")
    open_page(chromium, address)
    yield chromium
    loud = [entry["message"] for entry in chromium.get_log("browser") if entry["level"] == "SEVERE"]
    assert [each for each in loud if not any(said in each for said in _EXPECTED)] == []
