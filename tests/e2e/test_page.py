"""The page in a real browser: Debian's chromium without a window, against the served process itself."""

import base64
import json
import re
import time
from collections.abc import Iterator

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("selenium", reason="selenium drives the browser; pip install '.[test]'")
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webdriver import WebDriver
from selenium.webdriver.support.ui import WebDriverWait
from worlds.browser import (
    CHROMIUM,
    DRIVER,
    browser,
    found,
    list_broken_rules,
    open_page,
    prefer_colours,
    served,
    until,
)

pytestmark = pytest.mark.skipif(
    not (CHROMIUM and DRIVER), reason="no browser here; apt-get install chromium chromium-driver"
)
RED = "twemoji-1F534"


@pytest.fixture(scope="module")
def address(search_project) -> Iterator[str]:
    """`compodiff serve` over 157 pictures."""
    with served(search_project) as address:
        yield address


@pytest.fixture(scope="module")
def chromium() -> Iterator[WebDriver]:
    with browser() as driver:
        yield driver


@pytest.fixture
def page(chromium, address) -> Iterator[WebDriver]:
    chromium.set_window_size(1280, 900)
    chromium.get("about:blank")
    open_page(chromium, address)
    yield chromium
    loud = [entry["message"] for entry in chromium.get_log("browser") if entry["level"] == "SEVERE"]
    assert [each for each in loud if " 422 " not in each and " 413 " not in each] == []


def _search(driver: WebDriver) -> list[str]:
    """Press Search and wait for an answer that is not the last one."""
    driver.execute_script("document.getElementById('grid').replaceChildren()")
    driver.find_element(By.ID, "go").click()
    return found(driver)


def _pick(driver: WebDriver, name: str) -> None:
    driver.find_element(By.ID, "browse").click()
    driver.find_element(By.ID, "contains").send_keys(name)
    until(lambda: driver.find_element(By.ID, "gallery-count").text == "1 pictures")
    driver.find_element(By.CSS_SELECTOR, "#gallery-grid .pick").click()


def test_from_an_empty_page_to_a_link_that_asks_the_same(page, address):
    assert page.find_element(By.ID, "empty").is_displayed()
    until(lambda: len(page.find_elements(By.CSS_SELECTOR, "#starters .pick")) == 24)
    _pick(page, "red circle (twemoji)")
    assert page.switch_to.active_element.get_attribute("id") == "text"
    page.find_element(By.ID, "text").send_keys("make it blue")
    page.find_element(By.ID, "negative").send_keys("square")
    page.find_element(By.ID, "papers").click()
    shown = _search(page)
    assert len(shown) == 24
    assert RED not in shown
    status = page.find_element(By.ID, "status").text
    assert re.fullmatch(r"24 pictures in \S+ m?s \(encode \S+ m?s, sample \S+ m?s, search \S+ m?s\)", status)
    link = page.current_url
    for part in ("w_image=1.5", "w_text=7.5", "steps=10", "seed=", f"reference_id={RED}", "negative=square"):
        assert part in link

    page.get("about:blank")
    open_page(page, link)
    assert found(page) == shown
    assert page.find_element(By.ID, "text").get_attribute("value") == "make it blue"
    assert page.find_element(By.CSS_SELECTOR, "output[for=w_text]").text == "7.5"
    assert page.find_element(By.CSS_SELECTOR, ".references .label").text == "red circle (twemoji)"


def test_a_result_becomes_the_next_reference_and_back_goes_back(page):
    page.find_element(By.ID, "text").send_keys("a red heart", Keys.ENTER)
    first = found(page)
    page.find_element(By.CSS_SELECTOR, ".card:nth-child(2) .use").click()
    page.find_element(By.ID, "text").send_keys("green")
    second = _search(page)
    assert first[1] not in second
    page.find_element(By.CSS_SELECTOR, ".card:nth-child(3) .add").click()
    assert len(page.find_elements(By.CSS_SELECTOR, ".references li input[type=range]")) == 2
    _search(page)
    page.back()
    until(lambda: found(page) == second)
    page.find_element(By.ID, "follow").click()
    page.find_element(By.ID, "text").send_keys("at night")
    assert len(_search(page)) == 24
    assert "reference_embedding=" in page.current_url


def test_what_is_painted_reaches_the_server_as_its_cells(page, tmp_path):
    Image.new("RGB", (200, 100), "orange").save(tmp_path / "mine.png")
    page.find_element(By.ID, "file").send_keys(str(tmp_path / "mine.png"))
    page.find_element(By.ID, "paint").click()
    canvas = page.find_element(By.ID, "mask")
    until(lambda: page.execute_script("return arguments[0].width", canvas) == 512)
    width, height = canvas.size["width"], canvas.size["height"]
    strokes = ActionChains(page)
    for row in range(11):  # the left half, up and down, by a brush of 14 % of the height
        across = int(-width / 2 + height * 0.07 + row * (width / 2 - height * 0.14) / 10)
        strokes.move_to_element_with_offset(canvas, across, -height // 2 + 2).click_and_hold()
        strokes.move_by_offset(0, height - 4).release()
    strokes.perform()
    page.find_element(By.ID, "text").send_keys("a hat")
    _search(page)
    cells = _cells_of(page.current_url)
    assert cells[:, :31].mean() > 0.99
    assert cells[:, 33:].mean() < 0.01

    page.find_element(By.ID, "undo").click()
    _search(page)
    assert _cells_of(page.current_url)[:, :31].mean() < cells[:, :31].mean() - 0.02
    page.find_element(By.ID, "clear").click()
    _search(page)
    assert "mask_cells" not in page.current_url


def test_a_mask_can_be_painted_from_the_keyboard(page):
    _pick(page, "red apple (twemoji)")
    page.find_element(By.ID, "paint").click()
    canvas = page.find_element(By.ID, "mask")
    until(lambda: page.execute_script("return arguments[0].width", canvas) == 512)
    canvas.send_keys(Keys.SPACE, Keys.ARROW_RIGHT, Keys.SPACE)
    shown = _search(page)
    cells = _cells_of(page.current_url)
    assert cells[32, 32]
    assert not cells[:20].any()
    link = page.current_url
    page.get("about:blank")
    open_page(page, link)
    assert found(page) == shown
    np.testing.assert_array_equal(_cells_of(page.current_url), cells)


def _cells_of(link: str) -> np.ndarray:
    given = re.search(r"mask_cells=([^&]*)", link)
    assert given
    bits = base64.urlsafe_b64decode(given[1].replace("%3D", "="))
    return np.unpackbits(np.frombuffer(bits, np.uint8)).reshape(64, 64).astype(bool)


def test_a_failed_upload_is_said_in_words_and_the_page_goes_on(page, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"no picture at all")
    page.find_element(By.ID, "file").send_keys(str(tmp_path / "broken.png"))
    page.find_element(By.ID, "go").click()
    fault = page.find_element(By.ID, "fault")
    until(lambda: fault.text)
    assert fault.text == "the reference: not a JPEG, PNG, WebP, GIF, TIFF, BMP, AVIF or JPEG 2000 picture"
    assert fault.get_attribute("role") == "alert"
    (tmp_path / "huge.png").write_bytes(bytes(21 * 2**20))
    page.find_element(By.ID, "file").send_keys(str(tmp_path / "huge.png"))
    until(lambda: "huge.png has 21.0 MiB; the server takes 20.0 MiB" in fault.text)
    page.find_element(By.CSS_SELECTOR, ".references button").click()
    page.find_element(By.ID, "text").send_keys("a cat")
    assert len(_search(page)) == 24
    assert not fault.is_displayed()


def test_a_wrong_filter_names_the_columns(page):
    page.find_element(By.CSS_SELECTOR, "#more summary").click()
    page.find_element(By.ID, "filter").send_keys("height > 3")
    page.find_element(By.ID, "text").send_keys("a cat", Keys.ENTER)
    until(lambda: 'column "height" not found' in page.find_element(By.ID, "fault").text)
    page.find_element(By.ID, "filter").clear()
    page.find_element(By.ID, "filter").send_keys("picture_id like 'openmoji%'")
    assert all(each.startswith("openmoji") for each in _search(page))


def test_three_ways_stand_side_by_side_and_results_can_be_kept(page, tmp_path):
    page.execute_cdp_cmd("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(tmp_path)})
    _pick(page, "red apple (twemoji)")
    page.find_element(By.ID, "text").send_keys("green")
    composed = _search(page)
    page.find_element(By.ID, "compare").click()
    columns = WebDriverWait(page, 20).until(lambda driver: driver.find_elements(By.CSS_SELECTOR, ".three section"))
    heads = [each.find_element(By.TAG_NAME, "h2").text for each in columns]
    assert heads == ["The picture alone", "The words alone", "Composed"]
    cards = columns[2].find_elements(By.CSS_SELECTOR, ".card")
    assert [card.get_attribute("data-id") for card in cards] == composed
    page.find_element(By.ID, "json").click()
    kept = until(lambda: (tmp_path / "compodiff.json").is_file() and (tmp_path / "compodiff.json").read_text())
    assert [each["picture_id"] for each in json.loads(kept)["results"]] == composed
    page.find_element(By.ID, "csv").click()
    rows = until(lambda: (tmp_path / "compodiff.csv").is_file() and (tmp_path / "compodiff.csv").read_text())
    assert rows.splitlines()[0].startswith("rank,picture_id,name,score")
    assert rows.splitlines()[1].split(",")[:2] == ["1", composed[0]]


def test_everything_can_be_reached_from_the_keyboard_and_has_a_name(page):
    page.find_element(By.TAG_NAME, "body").send_keys("/")
    assert page.switch_to.active_element.get_attribute("id") == "text"
    page.switch_to.active_element.send_keys("a cat", Keys.ENTER)
    found(page)
    first = page.find_element(By.CSS_SELECTOR, ".card .show")
    first.send_keys(Keys.ARROW_RIGHT)
    assert page.switch_to.active_element.get_attribute("aria-label").startswith("2. ")
    page.switch_to.active_element.send_keys(Keys.ENTER)
    viewer = page.find_element(By.ID, "viewer")
    assert viewer.get_attribute("open") is not None
    viewer.send_keys(Keys.ESCAPE)
    nameless = page.execute_script("""
        return [...document.querySelectorAll("button, input, canvas, img, summary")].filter((each) => {
          const name = each.getAttribute("aria-label") || each.textContent.trim() || each.labels?.[0]?.textContent
            || each.closest("[aria-label]")?.getAttribute("aria-label");
          return !name && !each.hasAttribute("alt") && each.type !== "file";
        }).map((each) => each.outerHTML);""")
    assert nameless == []
    assert page.find_element(By.ID, "status").get_attribute("aria-live") == "polite"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_checker_of_accessibility_finds_nothing(page, address, scheme):
    prefer_colours(page, scheme)
    try:
        page.execute_script("localStorage.clear()")
        page.refresh()
        until(lambda: len(page.find_elements(By.CSS_SELECTOR, "#starters .pick")) == 24)
        assert list_broken_rules(page) == []
        _pick(page, "red apple (twemoji)")
        page.find_element(By.ID, "paint").click()
        page.execute_script("document.getElementById('more').open = true")
        page.find_element(By.ID, "text").send_keys("green")
        _search(page)
        assert list_broken_rules(page) == []
        page.find_element(By.ID, "compare").click()
        until(lambda: len(page.find_elements(By.CSS_SELECTOR, ".three section")) == 3)
        page.find_element(By.CSS_SELECTOR, ".card .add").click()
        page.find_element(By.CSS_SELECTOR, ".card .show").click()
        assert list_broken_rules(page) == []
    finally:
        prefer_colours(page)


def test_a_phone_sees_all_of_it_without_scrolling_sideways(page, address):
    metrics = {"width": 360, "height": 740, "deviceScaleFactor": 2, "mobile": True}
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    try:
        open_page(page, address + "#text=a+cat&w_image=1.5&w_text=3&steps=2&k=24")
        page.refresh()
        assert len(found(page)) == 24
        assert page.execute_script("return document.documentElement.scrollWidth") <= 360
        small = page.execute_script("""
            return [...document.querySelectorAll("button")].filter((each) => each.offsetParent)
              .filter((each) => each.offsetHeight < 31).map((each) => each.outerHTML);""")
        assert small == []
        tops = [each.rect["y"] for each in page.find_elements(By.CSS_SELECTOR, ".card")[:3]]
        assert tops[0] == tops[1] < tops[2]
    finally:
        page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_dark_follows_the_system_and_the_button(page, address):
    prefer_colours(page, "dark")
    try:
        page.execute_script("localStorage.clear()")
        page.refresh()
        ground = "return getComputedStyle(document.body).backgroundColor"
        until(lambda: page.execute_script(ground) == "rgb(17, 18, 23)")
        page.find_element(By.ID, "theme").click()
        assert page.execute_script(ground) == "rgb(246, 246, 249)"
    finally:
        page.execute_script("localStorage.clear()")
        prefer_colours(page)


def test_the_page_is_usable_within_a_second(page, address):
    page.get("about:blank")
    began = time.perf_counter()
    open_page(page, address)
    assert page.find_element(By.ID, "text").is_enabled()
    # A loaded machine is given twice the second that the page has on its own.
    assert time.perf_counter() - began < 2
