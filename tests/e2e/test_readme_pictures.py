"""The pictures of the README, taken of this checkout's own model: COMPODIFF_PICTURES=docs/images pytest THIS_FILE."""

import io
import os
import subprocess
import tarfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import quote

import pytest
from PIL import Image

pytest.importorskip("selenium", reason="selenium drives the browser; pip install '.[test]'")
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webdriver import WebDriver
from worlds.browser import CHROMIUM, COMMAND, DRIVER, browser, found, open_page, served, until

ROOT = Path(__file__).parents[2]
FOLDER = os.environ.get("COMPODIFF_PICTURES", "")
MOST_BYTES = 250_000
_ALL_IN_SIGHT_ARE_THERE = """return [...document.images].every((each) =>
    each.complete || !each.offsetParent || each.getBoundingClientRect().top > innerHeight)"""
JUDGE = "twemoji-1F469-200D-2696-FE0F"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not FOLDER, reason="takes the README's pictures anew where COMPODIFF_PICTURES names a folder"),
    pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="no browser here; apt-get install chromium chromium-driver"),
]


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with served(ROOT) as address:
        yield address


@pytest.fixture
def chromium() -> Iterator[WebDriver]:
    with browser() as driver:
        yield driver


def _taken(driver: WebDriver, name: str, wide: int, high: int, scale: float = 1) -> None:
    """Keep what is seen as `name`, of 256 colours."""
    until(lambda: driver.execute_script(_ALL_IN_SIGHT_ARE_THERE))
    path = (ROOT / FOLDER / name).resolve()
    shown = Image.open(io.BytesIO(driver.get_screenshot_as_png())).convert("RGB")
    assert shown.size == (wide * scale, high * scale)
    shown.quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)
    assert path.stat().st_size < MOST_BYTES


def _sized(driver: WebDriver, wide: int, high: int, scale: float = 1, *, phone: bool = False) -> None:
    metrics = {"width": wide, "height": high, "deviceScaleFactor": scale, "mobile": phone}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)


def _asked(address: str, **query: str) -> str:
    return address + "#" + "&".join(f"{name}={value}" for name, value in query.items())


def test_the_page_on_a_desk(chromium, address):
    _sized(chromium, 1280, 860)
    judge = JUDGE.replace("-FE0F", "")
    trail = quote(f"reference_id={judge.replace('1F469', '1F9D1')}&text=as a woman")
    open_page(chromium, _asked(address, reference_id=judge, text="with dark skin", trail=trail))
    assert found(chromium)
    second = chromium.find_elements(By.CSS_SELECTOR, "#grid .show")[1]
    ActionChains(chromium).move_to_element(second).perform()
    time.sleep(1)  # until the cards stand still
    _taken(chromium, "page.png", 1280, 860)


def test_the_first_screen(chromium, address):
    _sized(chromium, 1280, 860)
    open_page(chromium, address)
    until(lambda: len(chromium.find_elements(By.CSS_SELECTOR, ".example")) == 8)
    time.sleep(1)
    _taken(chromium, "page-start.png", 1280, 860)


def test_the_page_on_a_phone(chromium, address):
    _sized(chromium, 390, 844, 2, phone=True)
    open_page(chromium, _asked(address, reference_id="twemoji-1F53A", text="pointing down"))
    assert found(chromium)
    time.sleep(1)
    _taken(chromium, "page-phone.png", 390, 844, 2)


def test_painting_a_mask(chromium, address):
    _sized(chromium, 1280, 860)
    open_page(chromium, _asked(address, reference_id="openmoji-1F469-200D-1F373", text="a farmer"))
    found(chromium)
    chromium.find_element(By.CSS_SELECTOR, ".references .shown").click()
    canvas = chromium.find_element(By.ID, "mask")
    until(lambda: chromium.execute_script("return arguments[0].width", canvas) > 300)
    across, down = canvas.size["width"], canvas.size["height"]
    strokes = ActionChains(chromium)
    for row in range(3):  # the apron, from side to side
        strokes.move_to_element_with_offset(canvas, -across // 4, int(down * (0.22 + 0.08 * row)))
        strokes.click_and_hold().move_by_offset(across // 2, 0).release()
    strokes.perform()
    _taken(chromium, "page-mask.png", 1280, 860)


def test_a_page_of_results(chromium, tmp_path):
    asked = ["--reference", "\U0001f469\u200d\u2696\ufe0f", "--text", "with dark skin"]
    _sized(chromium, 1000, 796, 1.5)
    _answered(chromium, tmp_path, asked)
    _taken(chromium, "search.png", 1000, 796, 1.5)


def test_a_page_of_results_over_photographs(chromium, tmp_path):
    pictures = tmp_path / "photographs"
    with tarfile.open(ROOT / "artifacts" / "benchmarks" / "exact_edits" / "gallery" / "test.tar") as tar:
        tar.extractall(pictures, filter="data")
    subprocess.run([COMMAND, "index", "build", pictures, "--model", "artifacts"], cwd=ROOT, check=True)
    asked = ["--index", pictures, "--reference", pictures / "cat-base.png", "--text", "in black and white"]
    _sized(chromium, 1000, 690, 1.5)
    _answered(chromium, tmp_path, asked)
    _taken(chromium, "photographs.png", 1000, 690, 1.5)


def _answered(driver: WebDriver, folder: Path, asked: Sequence[str | Path]) -> None:
    """Show the page of what is answered to a query."""
    page = folder / "answer.html"
    command = [COMMAND, "search", "--model", "artifacts", *asked, "--html", page]
    subprocess.run(command, cwd=ROOT, check=True)
    driver.get(page.as_uri())
    assert len(driver.find_elements(By.TAG_NAME, "img")) >= 10
