"""The page in a real browser: Debian's chromium without a window, against the application over real parts."""

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
from selenium.webdriver.remote.webelement import WebElement
from worlds.browser import CHROMIUM, DRIVER, browser, found, open_page, serving, until
from worlds.search import places_in

from compodiff.serving.champion import Champion

pytestmark = pytest.mark.skipif(
    not (CHROMIUM and DRIVER), reason="no browser here; apt-get install chromium chromium-driver"
)
RED = "twemoji-1F534"
_EXPECTED = (" 422 ", " 413 ", "/api/state")  # what the console says of queries that are refused


@pytest.fixture(scope="module")
def address(search_project) -> Iterator[str]:
    """A server of 157 pictures."""
    with serving(Champion(lambda: places_in(search_project / "artifacts"))) as address:
        yield address


@pytest.fixture(scope="module")
def chromium() -> Iterator[WebDriver]:
    with browser() as driver:
        yield driver


@pytest.fixture
def page(chromium, address) -> Iterator[WebDriver]:
    chromium.set_window_size(1366, 900)
    chromium.get("about:blank")
    open_page(chromium, address)
    yield chromium
    loud = [entry["message"] for entry in chromium.get_log("browser") if entry["level"] == "SEVERE"]
    assert [each for each in loud if not any(said in each for said in _EXPECTED)] == []


def _one(driver: WebDriver, selector: str) -> WebElement:
    return driver.find_element(By.CSS_SELECTOR, selector)


def _pick(driver: WebDriver, name: str) -> None:
    _one(driver, "#add").click()
    _one(driver, "#browse").click()
    _one(driver, "#contains").send_keys(name)
    until(lambda: _one(driver, "#gallery-count").text == "1 pictures")
    _one(driver, "#gallery-grid .pick").click()


def _point(driver: WebDriver, place: int) -> None:
    """Move the pointer over a picture, where its buttons then are."""
    ActionChains(driver).move_to_element(driver.find_elements(By.CSS_SELECTOR, "#grid .show")[place]).perform()


def test_the_answer_follows_what_is_typed_and_its_link_asks_the_same(page):
    until(lambda: len(page.find_elements(By.CSS_SELECTOR, "#starters .card")) > 10)
    _pick(page, "red circle (twemoji)")
    assert page.switch_to.active_element.get_attribute("id") == "text"
    alone = found(page)
    page.execute_script("window.seen = document.querySelector('#grid .card')")
    _one(page, "#text").send_keys("make it blue")
    until(lambda: "text=make+it+blue" in page.current_url)
    shown = found(page)
    assert shown != alone
    assert RED not in shown
    assert page.execute_script("return window.seen.isConnected"), "a picture that stays was made anew"
    status = _one(page, "#status").text
    assert re.fullmatch(r"Nearest of 157 · \S+ m?s", status), status
    _one(page, "#tune").click()
    _one(page, "#negative").send_keys("square")
    _one(page, "#more summary").click()
    _one(page, "#papers").click()
    shown = found(page)
    for part in ("w_image=1.5", "w_text=7.5", "steps=10", "seed=", f"reference_id={RED}", "negative=square"):
        assert part in page.current_url
    link = page.current_url
    page.get("about:blank")
    open_page(page, link)
    assert found(page)[: len(shown)] == shown  # the open drawer left room for fewer
    assert _one(page, "#text").get_attribute("value") == "make it blue"
    assert _one(page, ".references .shown").get_attribute("title").startswith("red circle (twemoji)")
    words = page.execute_script("""balance.value = -1; balance.dispatchEvent(new Event("input", {bubbles: true}));
        return document.querySelector("output[for=w_text]").textContent""")
    assert words == "0"
    until(lambda: "w_text=0&" in page.current_url)


def test_a_result_becomes_the_next_reference_and_the_way_can_be_gone_back(page):
    _one(page, "#text").send_keys("a red heart", Keys.ENTER)
    first = found(page)
    assert _one(page, "#trail").get_attribute("hidden") is not None
    _point(page, 1)
    _one(page, "[aria-label='Use as reference']").click()
    _one(page, "#text").send_keys("green", Keys.ENTER)
    until(lambda: "text=green" in page.current_url)
    second = found(page)
    assert first[1] not in second
    assert [each.text for each in page.find_elements(By.CSS_SELECTOR, "#trail button")] == ["“a red heart”", "“green”"]
    _point(page, 2)
    _one(page, "[aria-label='Less like this']").click()
    until(lambda: f"less={second[2]}" in page.current_url)
    assert second[2] not in found(page)
    page.back()
    until(lambda: found(page) == second)
    link = page.current_url
    page.get("about:blank")
    open_page(page, link)
    assert found(page) == second
    _one(page, "#trail button").click()
    until(lambda: found(page)[:20] == first[:20])
    _one(page, "#grid .show").click()
    page.find_element(By.XPATH, "//button[.='Use as reference']").click()
    found(page)
    _one(page, "#grid .show").click()
    _one(page, "#viewer [aria-label='Add to the references']").click()
    until(lambda: page.current_url.count("reference_id=") == 2)
    assert len(page.find_elements(By.CSS_SELECTOR, "#weights input[type=range]")) == 2


def test_what_is_painted_reaches_the_server_as_its_cells(page, tmp_path):
    Image.new("RGB", (200, 100), "orange").save(tmp_path / "mine.png")
    _one(page, "#file").send_keys(str(tmp_path / "mine.png"))
    found(page)
    _one(page, ".references .shown").click()
    canvas = _one(page, "#mask")
    until(lambda: page.execute_script("return arguments[0].width", canvas) == 512)
    width, height = canvas.size["width"], canvas.size["height"]
    strokes = ActionChains(page)
    for row in range(11):  # the left half, up and down, by a brush of 14 % of the height
        across = int(-width / 2 + height * 0.07 + row * (width / 2 - height * 0.14) / 10)
        strokes.move_to_element_with_offset(canvas, across, -height // 2 + 2).click_and_hold()
        strokes.move_by_offset(0, height - 4).release()
    strokes.perform()
    assert _one(page, "#undo").is_enabled()
    cells = _finish_painting(page)
    assert cells[17:47, :31].mean() > 0.99  # the picture is twice as wide as high: the encoder puts a border around it
    assert cells[:, 33:].mean() < 0.01
    assert not cells[:16].any()
    assert _one(page, ".references .ghost").is_displayed()

    _one(page, ".references .shown").click()
    _one(page, "#undo").click()
    less = _finish_painting(page)
    assert less[17:47, :31].mean() < cells[17:47, :31].mean() - 0.02
    _one(page, ".references .shown").click()
    _one(page, "#eraser").click()
    ActionChains(page).move_to_element_with_offset(canvas, -width // 4, 0).click().perform()
    assert _finish_painting(page).sum() < less.sum()
    _one(page, ".references .shown").click()
    _one(page, "#clear").click()
    _one(page, "#painted").click()
    until(lambda: "mask_cells" not in page.current_url)
    assert "thumbnail=data" in page.current_url


def test_a_mask_can_be_painted_from_the_keyboard(page):
    _pick(page, "red apple (twemoji)")
    found(page)
    _one(page, ".references .shown").send_keys(Keys.ENTER)
    canvas = _one(page, "#mask")
    until(lambda: page.execute_script("return arguments[0].width", canvas) == 512)
    assert page.switch_to.active_element == canvas
    canvas.send_keys(Keys.SPACE, Keys.ARROW_RIGHT, Keys.SPACE, "e", Keys.ARROW_LEFT, Keys.ARROW_LEFT, Keys.SPACE)
    cells = _finish_painting(page)
    assert cells[32, 36]
    assert not cells[:20].any()
    shown, link = found(page), page.current_url
    page.get("about:blank")
    open_page(page, link)
    assert found(page) == shown
    np.testing.assert_array_equal(_read_cells(page.current_url), cells)


def test_what_has_one_colour_is_selected_by_a_click_and_the_picture_can_be_looked_at_closely(page, tmp_path):
    picture = Image.new("RGB", (300, 300), "white")
    picture.paste("orange", (30, 30, 130, 270))
    picture.paste("blue", (160, 30, 270, 270))
    picture.save(tmp_path / "two.png")
    _one(page, "#file").send_keys(str(tmp_path / "two.png"))
    found(page)
    _one(page, ".references .shown").click()
    canvas = _one(page, "#mask")
    until(lambda: page.execute_script("return arguments[0].width", canvas) == 512)
    wide = canvas.size["width"]
    canvas.send_keys("s", "+")
    assert canvas.size["width"] > wide * 1.3
    canvas.send_keys("0")
    assert canvas.size["width"] == wide
    ActionChains(page).move_to_element_with_offset(canvas, int(wide * (0.7 - 0.5)), 0).click().perform()
    cells = _finish_painting(page)
    assert cells[8:56, 36:56].all()
    assert not cells[:, :32].any()
    _one(page, ".references .shown").click()
    ActionChains(page).move_to_element_with_offset(canvas, int(wide * (0.25 - 0.5)), 0).click().perform()
    assert _finish_painting(page)[8:56, 8:26].all()
    _one(page, ".references .shown").click()
    ActionChains(page).move_to_element_with_offset(canvas, int(wide * (0.7 - 0.5)), 0).context_click().perform()
    less = _finish_painting(page)
    assert less[8:56, 8:26].all()
    assert not less[8:56, 36:56].any()


def _finish_painting(driver: WebDriver) -> np.ndarray:
    before = driver.current_url
    _one(driver, "#painted").click()
    until(lambda: driver.current_url != before)
    return _read_cells(driver.current_url)


def _read_cells(link: str) -> np.ndarray:
    given = re.search(r"mask_cells=([^&]*)", link)
    assert given
    bits = base64.urlsafe_b64decode(given[1].replace("%3D", "="))
    return np.unpackbits(np.frombuffer(bits, np.uint8)).reshape(64, 64).astype(bool)


def test_a_bad_upload_is_said_in_words_and_a_large_picture_is_made_smaller(page, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"no picture at all")
    _one(page, "#file").send_keys(str(tmp_path / "broken.png"))
    fault = _one(page, "#fault")
    until(lambda: fault.text)
    assert fault.text == "the reference: not a JPEG, PNG, WebP, GIF, TIFF, BMP, AVIF or JPEG 2000 picture"
    assert fault.get_attribute("role") == "alert"
    (tmp_path / "huge.png").write_bytes(bytes(21 * 2**20))
    _one(page, "#file").send_keys(str(tmp_path / "huge.png"))
    until(lambda: "huge.png has 21.0 MiB; the server takes 20.0 MiB" in fault.text)
    Image.new("RGB", (2700, 2700), "orange").save(tmp_path / "large.bmp")  # 21.9 MB
    _one(page, "#file").send_keys(str(tmp_path / "large.bmp"))
    assert len(until(lambda: found(page))) >= 24
    assert not fault.is_displayed()


def test_filters_are_chosen_from_the_columns_and_a_wrong_condition_names_them(page):
    _one(page, "#text").send_keys("a cat", Keys.ENTER)
    _one(page, "#tune").click()
    _one(page, "#facet-style").send_keys("openmoji")
    until(lambda: "filter=" in page.current_url)
    assert all(each.startswith("openmoji") for each in found(page))
    link = page.current_url
    page.get("about:blank")
    open_page(page, link)
    assert found(page)
    assert _one(page, "#facet-style").get_attribute("value") == "openmoji"
    _one(page, "#tune").click()
    _one(page, "#more summary").click()
    _one(page, "#filter").send_keys("height > 3", Keys.TAB)
    until(lambda: 'column "height" not found' in _one(page, "#fault").text)
    assert "stale" in _one(page, "body").get_attribute("class")


def test_three_ways_stand_side_by_side_and_results_can_be_kept(page, tmp_path):
    page.execute_cdp_cmd("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(tmp_path)})
    _pick(page, "red apple (twemoji)")
    _one(page, "#text").send_keys("green", Keys.ENTER)
    until(lambda: "text=green" in page.current_url)
    composed = found(page)
    _one(page, "#imagine").click()
    frames = until(lambda: page.find_elements(By.CSS_SELECTOR, "#film figure"))
    assert frames[0].find_element(By.TAG_NAME, "figcaption").get_attribute("textContent") == "noise"
    assert frames[-1].find_element(By.TAG_NAME, "figcaption").get_attribute("textContent") == "the answer"
    _one(page, "#compare").click()
    columns = until(lambda: page.find_elements(By.CSS_SELECTOR, ".three section"))
    heads = [each.find_element(By.TAG_NAME, "h2").text for each in columns]
    assert heads == ["The picture alone", "The words alone", "Composed"]
    cards = columns[2].find_elements(By.CSS_SELECTOR, ".card")
    assert [card.get_attribute("data-id") for card in cards] == composed[:24]
    for button in ("json", "csv"):
        _one(page, "#keep").click()
        _one(page, f"#{button}").click()
    kept = until(lambda: (tmp_path / "compodiff.json").is_file() and (tmp_path / "compodiff.json").read_text())
    assert [each["picture_id"] for each in json.loads(kept)["results"]] == composed[:24]
    rows = until(lambda: (tmp_path / "compodiff.csv").is_file() and (tmp_path / "compodiff.csv").read_text())
    assert rows.splitlines()[0].startswith("rank,picture_id,name,score")
    assert rows.splitlines()[1].split(",")[:2] == ["1", composed[0]]


def test_everything_can_be_reached_from_the_keyboard(page):
    _one(page, "body").send_keys("/")
    assert page.switch_to.active_element.get_attribute("id") == "text"
    page.switch_to.active_element.send_keys("a cat", Keys.ENTER)
    found(page)
    _one(page, "#grid .show").send_keys(Keys.ARROW_RIGHT)
    assert page.switch_to.active_element.get_attribute("aria-label").startswith("2. ")
    page.switch_to.active_element.send_keys(Keys.ENTER)
    viewer, title = _one(page, "#viewer"), _one(page, "#viewer-title").text
    assert viewer.get_attribute("open") is not None
    page.switch_to.active_element.send_keys(Keys.ARROW_RIGHT)
    assert _one(page, "#viewer-title").text != title
    viewer.send_keys(Keys.ESCAPE)
    page.switch_to.active_element.send_keys("r")
    assert len(page.find_elements(By.CSS_SELECTOR, ".references li")) == 1
    page.execute_script("document.activeElement.blur()")
    _one(page, "body").send_keys("?")
    assert "use the picture as the reference" in _one(page, "#keys-list").text


def test_the_page_is_usable_within_a_second(page, address):
    page.get("about:blank")
    began = time.perf_counter()
    open_page(page, address)
    assert _one(page, "#text").is_enabled()
    # A loaded machine is given twice the second that the page has on its own.
    assert time.perf_counter() - began < 2
