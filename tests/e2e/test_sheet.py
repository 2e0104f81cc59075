"""The contact sheet in a real browser: Debian's chromium without a window, over a file."""

import csv
import json
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from subprocess import run

import pytest
from worlds.discs import write_discs

from compodiff.inspection.drawing import SheetRow, draw_rows, read_pictures, read_rows
from compodiff.inspection.sheet import render_sheet

pytest.importorskip("selenium", reason="selenium drives the browser; pip install '.[test]'")
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webdriver import WebDriver
from selenium.webdriver.support.ui import Select

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(
    not (CHROMIUM and DRIVER), reason="no browser here; apt-get install chromium chromium-driver"
)
COMMAND = Path(sys.executable).with_name("compodiff")
COUNT = 60


@pytest.fixture(scope="module")
def triplets(tmp_path_factory) -> Path:
    """Sixty triplets of three relations; every fifth is rejected, every sixth has a mask."""
    return write_discs(tmp_path_factory.mktemp("project") / "artifacts", COUNT)


@pytest.fixture(scope="module")
def chromium(tmp_path_factory) -> Iterator[WebDriver]:
    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"):
        options.add_argument(argument)
    downloads = tmp_path_factory.mktemp("downloads")
    options.add_experimental_option("prefs", {"download.default_directory": str(downloads)})
    driver = webdriver.Chrome(options, Service(str(DRIVER)))
    driver.downloads = downloads
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def file(triplets, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("sheet") / "sheet.html"
    run([COMMAND, "inspect", triplets, "-n", "45", "--html", path], check=True, capture_output=True)
    return path


@pytest.fixture
def page(chromium, file) -> Iterator[WebDriver]:
    chromium.set_window_size(1200, 900)
    chromium.get(file.as_uri())
    chromium.execute_async_script("ask('readwrite', (kept) => kept.clear()).then(arguments[0])")
    chromium.execute_script("localStorage.clear()")
    chromium.refresh()
    until(lambda: chromium.execute_script("return document.body.dataset.ready"))
    yield chromium
    assert [entry["message"] for entry in chromium.get_log("browser") if entry["level"] == "SEVERE"] == []


def until(holds, seconds: float = 20):
    end = time.monotonic() + seconds
    while not (value := holds()):
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)
    return value


def keys(page: WebDriver) -> list[str]:
    return page.execute_script("return [...document.querySelectorAll('.card')].map((card) => card.dataset.key)")


def choose(page: WebDriver, name: str, value: str) -> None:
    Select(page.find_element(By.ID, name)).select_by_value(value)


def test_the_sheet_shows_the_draw_and_fetches_nothing(page, triplets, file):
    drawn, _ = draw_rows(triplets, None, 45, 17)
    assert keys(page) == drawn["key"].tolist()
    assert page.find_element(By.ID, "status").text == "45 of 45 triplets, 0 rated"
    card = page.find_element(By.CSS_SELECTOR, f"[data-key='{drawn[drawn['accepted']]['key'].iloc[0]}']")
    assert card.find_element(By.CLASS_NAME, "captions").text.endswith("→ a </script> disc")
    assert "http" not in file.read_text().replace("http://www.w3.org", "")
    assert (
        page.execute_script(
            "return performance.getEntriesByType('resource').filter((it) => !it.name.startsWith('data:')).length"
        )
        == 0
    )
    rejected = page.find_element(By.CSS_SELECTOR, f"[data-key='{drawn[~drawn['accepted']]['key'].iloc[0]}']")
    assert rejected.find_element(By.CLASS_NAME, "verdict").text == "rejected by directional"
    assert len(rejected.find_elements(By.CSS_SELECTOR, ".frame img")) >= 2


def test_thumbnails_are_decoded_when_they_come_near(page):
    waiting = "return document.querySelectorAll('img[data-picture]').length"
    until(lambda: page.execute_script("return document.querySelector('.card img')?.naturalWidth") == 48)
    assert page.execute_script(waiting) > 0
    page.execute_script("window.scrollTo(0, document.body.scrollHeight)")
    until(lambda: page.execute_script("return [...document.querySelectorAll('.card img')].at(-1).naturalWidth") > 0)


def test_it_sorts_and_filters(page, triplets):
    rows = read_rows(triplets).set_index("key")
    choose(page, "sort", "directional")
    scores = [rows.at[key, "directional"] for key in keys(page)]
    assert scores == sorted(scores)
    page.find_element(By.ID, "descending").click()
    assert [rows.at[key, "directional"] for key in keys(page)] == sorted(scores, reverse=True)
    choose(page, "relation", "turn_left")
    choose(page, "accepted", "no")
    assert keys(page)
    assert {(rows.at[key, "relation"], rows.at[key, "accepted"]) for key in keys(page)} == {("turn_left", False)}
    choose(page, "accepted", "")
    choose(page, "score", "directional")
    page.find_element(By.ID, "low").send_keys("0.5")
    assert keys(page)
    assert all(rows.at[key, "directional"] >= 0.5 for key in keys(page))
    page.find_element(By.ID, "search").send_keys("nothing says this")
    assert keys(page) == []
    assert page.find_element(By.ID, "none").is_displayed()


def test_rating_by_keyboard_is_kept_exported_and_summed_up(page, chromium, triplets):
    body = page.find_element(By.TAG_NAME, "body")
    for key in ("j", "1", "j", "3", "j", "1", "k", "0"):
        body = page.switch_to.active_element
        body.send_keys(key)
    first, _, third, *_ = keys(page)
    until(lambda: page.find_element(By.ID, "status").text.endswith("2 rated"))
    until(lambda: page.execute_script("return document.body.dataset.writing === '0'"))
    page.refresh()
    until(lambda: page.execute_script("return document.body.dataset.ready"))
    kept = "return [...document.querySelectorAll(\".card[data-rating='good']\")].map((card) => card.dataset.key)"
    assert until(lambda: page.execute_script(kept)) == [first, third]
    choose(page, "rated", "good")
    assert keys(page) == [first, third]
    page.find_element(By.ID, "rater").send_keys('Ann "A", B')
    for name in ("csv", "json"):
        page.find_element(By.ID, name).click()
    files = [chromium.downloads / f"ratings.{name}" for name in ("csv", "json")]
    until(lambda: all(file.is_file() and file.read_text() for file in files))
    with files[0].open() as stream:
        rows = list(csv.DictReader(stream))
    assert [(row["key"], row["rating"], row["rater"]) for row in rows] == [
        (first, "good", 'Ann "A", B'),
        (third, "good", 'Ann "A", B'),
    ]
    done = run(
        [COMMAND, "inspect", triplets, "--json", *(part for file in files for part in ("--ratings", file))],
        check=True,
        capture_output=True,
        text=True,
    )
    assert json.loads(done.stdout)["all"]["rated"] == 2  # the same rater's, twice


def test_masks_lie_over_the_reference_when_asked_for(page):
    card = page.find_element(By.CSS_SELECTOR, ".card:has(.mask)")
    mask = card.find_element(By.CLASS_NAME, "mask")
    assert not mask.is_displayed()
    card.find_element(By.CLASS_NAME, "show-mask").click()
    until(lambda: page.execute_script("return arguments[0].naturalWidth", mask) == 64)
    assert mask.is_displayed()
    page.switch_to.active_element.send_keys("m")
    assert not mask.is_displayed()


def test_dark_follows_the_system_and_the_button(page):
    ground = "return getComputedStyle(document.body).backgroundColor"
    page.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": "dark"}]}
    )
    try:
        page.refresh()
        until(lambda: page.execute_script(ground) == "rgb(17, 18, 23)")
        page.find_element(By.ID, "theme").click()
        assert page.execute_script(ground) == "rgb(246, 246, 249)"
    finally:
        page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def test_everything_has_a_name_and_a_phone_sees_it_all(page):
    nameless = page.execute_script("""
        return [...document.querySelectorAll("button, input, select, img")].filter((each) =>
          !(each.getAttribute("aria-label") || each.textContent.trim() || each.labels?.[0]?.textContent || each.alt)
        ).map((each) => each.outerHTML.slice(0, 200));""")
    assert nameless == []
    page.find_element(By.TAG_NAME, "body").send_keys("/")
    assert page.switch_to.active_element.get_attribute("id") == "search"
    page.switch_to.active_element.send_keys(Keys.ESCAPE)
    metrics = {"width": 360, "height": 740, "deviceScaleFactor": 2, "mobile": True}
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    try:
        assert page.execute_script("return document.documentElement.scrollWidth") <= 360
    finally:
        page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_a_thousand_triplets_are_usable_at_once(chromium, triplets, tmp_path):
    rows = read_rows(triplets)
    shown = read_pictures(triplets, rows[rows["accepted"]])
    many = [
        SheetRow({**it.row, "key": f"{it.row['key']}-{copy}"}, it.reference, it.target, it.mask)
        for copy in range(21)
        for it in shown
    ]
    path = tmp_path / "many.html"
    path.write_text(render_sheet("many", many[:1000], {}))
    began = time.perf_counter()
    chromium.get(path.as_uri())
    until(lambda: chromium.execute_script("return document.body.dataset.ready"))
    choose(chromium, "sort", "directional")
    assert len(keys(chromium)) == 1000
    assert time.perf_counter() - began < 5
    assert chromium.execute_script("return document.querySelectorAll('img[data-picture]').length") > 1000
