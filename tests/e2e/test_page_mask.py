"""The mask editor in a real browser: brush, eraser, selection by a click, zoom, keyboard."""

import base64
import re

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("selenium", reason="selenium drives the browser; pip install '.[test]'")
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webdriver import WebDriver
from worlds.browser import CHROMIUM, DRIVER, found, one, open_page, pick, until

pytestmark = pytest.mark.skipif(
    not (CHROMIUM and DRIVER), reason="no browser here; apt-get install chromium chromium-driver"
)


def test_what_is_painted_reaches_the_server_as_its_cells(page, tmp_path):
    Image.new("RGB", (200, 100), "orange").save(tmp_path / "mine.png")
    one(page, "#file").send_keys(str(tmp_path / "mine.png"))
    found(page)
    one(page, ".references .shown").click()
    canvas = one(page, "#mask")
    until(lambda: page.execute_script("return arguments[0].width", canvas) == 512)
    width, height = canvas.size["width"], canvas.size["height"]
    strokes = ActionChains(page)
    for row in range(11):  # the left half, up and down, by a brush of 14 % of the height
        across = int(-width / 2 + height * 0.07 + row * (width / 2 - height * 0.14) / 10)
        strokes.move_to_element_with_offset(canvas, across, -height // 2 + 2).click_and_hold()
        strokes.move_by_offset(0, height - 4).release()
    strokes.perform()
    assert one(page, "#undo").is_enabled()
    cells = _finish_painting(page)
    assert cells[17:47, :31].mean() > 0.99  # the picture is twice as wide as high: the encoder puts a border around it
    assert cells[:, 33:].mean() < 0.01
    assert not cells[:16].any()
    assert one(page, ".references .ghost").is_displayed()

    one(page, ".references .shown").click()
    one(page, "#undo").click()
    less = _finish_painting(page)
    assert less[17:47, :31].mean() < cells[17:47, :31].mean() - 0.02
    one(page, ".references .shown").click()
    one(page, "#eraser").click()
    ActionChains(page).move_to_element_with_offset(canvas, -width // 4, 0).click().perform()
    assert _finish_painting(page).sum() < less.sum()
    one(page, ".references .shown").click()
    one(page, "#clear").click()
    one(page, "#painted").click()
    until(lambda: "mask_cells" not in page.current_url)
    assert "thumbnail=data" in page.current_url


def test_a_mask_can_be_painted_from_the_keyboard(page):
    pick(page, "red apple (twemoji)")
    found(page)
    one(page, ".references .shown").send_keys(Keys.ENTER)
    canvas = one(page, "#mask")
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
    one(page, "#file").send_keys(str(tmp_path / "two.png"))
    found(page)
    one(page, ".references .shown").click()
    canvas = one(page, "#mask")
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
    one(page, ".references .shown").click()
    ActionChains(page).move_to_element_with_offset(canvas, int(wide * (0.25 - 0.5)), 0).click().perform()
    assert _finish_painting(page)[8:56, 8:26].all()
    one(page, ".references .shown").click()
    ActionChains(page).move_to_element_with_offset(canvas, int(wide * (0.7 - 0.5)), 0).context_click().perform()
    less = _finish_painting(page)
    assert less[8:56, 8:26].all()
    assert not less[8:56, 36:56].any()


def _finish_painting(driver: WebDriver) -> np.ndarray:
    before = driver.current_url
    one(driver, "#painted").click()
    until(lambda: driver.current_url != before)
    return _read_cells(driver.current_url)


def _read_cells(link: str) -> np.ndarray:
    given = re.search(r"mask_cells=([^&]*)", link)
    assert given
    bits = base64.urlsafe_b64decode(given[1].replace("%3D", "="))
    return np.unpackbits(np.frombuffer(bits, np.uint8)).reshape(64, 64).astype(bool)
