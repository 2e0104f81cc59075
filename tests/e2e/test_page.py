"""The page in a real browser: Debian's chromium without a window, against the application over real parts."""

import json
import re
import subprocess
import time

import httpx
import pytest
from PIL import Image

pytest.importorskip("selenium", reason="selenium drives the browser; pip install '.[test]'")
from selenium.common.exceptions import ElementClickInterceptedException
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webdriver import WebDriver
from worlds.browser import CHROMIUM, DRIVER, found, one, open_page, pick, until

pytestmark = pytest.mark.skipif(
    not (CHROMIUM and DRIVER), reason="no browser here; apt-get install chromium chromium-driver"
)
RED = "twemoji-1F534"


def _point(driver: WebDriver, place: int) -> None:
    """Move the pointer over a picture, where its buttons then are."""
    ActionChains(driver).move_to_element(driver.find_elements(By.CSS_SELECTOR, "#grid .show")[place]).perform()


def test_the_answer_follows_what_is_typed_and_its_link_asks_the_same(page):
    until(lambda: len(page.find_elements(By.CSS_SELECTOR, "#starters .card")) > 10)
    pick(page, "red circle (twemoji)")
    assert page.switch_to.active_element.get_attribute("id") == "text"
    alone = found(page)
    page.execute_script("window.seen = document.querySelector('#grid .card')")
    one(page, "#text").send_keys("make it blue")
    until(lambda: "text=make+it+blue" in page.current_url)
    shown = found(page)
    assert shown != alone
    assert RED not in shown
    assert page.execute_script("return window.seen.isConnected"), "a picture that stays was made anew"
    status = one(page, "#status").text
    assert re.fullmatch(r"Nearest of 157 · \S+ m?s", status), status
    one(page, "#tune").click()
    one(page, "#negative").send_keys("square")
    one(page, "#more summary").click()
    one(page, "#papers").click()
    shown = found(page)
    for part in ("w_image=1.5", "w_text=7.5", "steps=10", "seed=", f"reference_id={RED}", "negative=square"):
        assert part in page.current_url
    link = page.current_url
    page.get("about:blank")
    open_page(page, link)
    assert found(page)[: len(shown)] == shown  # the open drawer left room for fewer
    assert one(page, "#text").get_attribute("value") == "make it blue"
    assert one(page, ".references .shown").get_attribute("title").startswith("red circle (twemoji)")
    words = page.execute_script("""balance.value = -1; balance.dispatchEvent(new Event("input", {bubbles: true}));
        return document.querySelector("output[for=w_text]").textContent""")
    assert words == "0"
    until(lambda: "w_text=0&" in page.current_url)


def test_a_result_becomes_the_next_reference_and_the_way_can_be_gone_back(page):
    one(page, "#text").send_keys("a red heart", Keys.ENTER)
    first = found(page)
    assert one(page, "#trail").get_attribute("hidden") is not None
    _point(page, 1)
    one(page, "[aria-label='Use as reference']").click()
    one(page, "#text").send_keys("green", Keys.ENTER)
    until(lambda: "text=green" in page.current_url)
    second = found(page)
    assert first[1] not in second
    assert [each.text for each in page.find_elements(By.CSS_SELECTOR, "#trail button")] == ["“a red heart”", "“green”"]
    _point(page, 2)
    one(page, "[aria-label='Less like this']").click()
    until(lambda: f"less={second[2]}" in page.current_url)
    assert second[2] not in found(page)
    page.back()
    until(lambda: found(page) == second)
    link = page.current_url
    page.get("about:blank")
    open_page(page, link)
    assert found(page) == second
    one(page, "#trail button").click()
    until(lambda: found(page)[:20] == first[:20])
    _click_when_still(page, "#grid .show")
    page.find_element(By.XPATH, "//button[.='Use as reference']").click()
    found(page)
    _click_when_still(page, "#grid .show")
    one(page, "#viewer [aria-label='Add to the references']").click()
    until(lambda: page.current_url.count("reference_id=") == 2)
    assert len(page.find_elements(By.CSS_SELECTOR, "#weights input[type=range]")) == 2


def test_a_bad_upload_is_said_in_words_and_a_large_picture_is_made_smaller(page, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"no picture at all")
    one(page, "#file").send_keys(str(tmp_path / "broken.png"))
    fault = one(page, "#fault")
    until(lambda: fault.text)
    assert fault.text == "the reference: not a JPEG, PNG, WebP, GIF, TIFF, BMP, AVIF or JPEG 2000 picture"
    assert fault.get_attribute("role") == "alert"
    (tmp_path / "huge.png").write_bytes(bytes(21 * 2**20))
    one(page, "#file").send_keys(str(tmp_path / "huge.png"))
    until(lambda: "huge.png has 21.0 MiB; the server takes 20.0 MiB" in fault.text)
    Image.new("RGB", (2700, 2700), "orange").save(tmp_path / "large.bmp")  # 21.9 MB
    one(page, "#file").send_keys(str(tmp_path / "large.bmp"))
    assert len(until(lambda: found(page))) >= 24
    assert not fault.is_displayed()


def test_filters_are_chosen_from_the_columns_and_a_wrong_condition_names_them(page):
    one(page, "#text").send_keys("a cat", Keys.ENTER)
    one(page, "#tune").click()
    one(page, "#facet-style").send_keys("openmoji")
    until(lambda: "filter=" in page.current_url)
    assert all(each.startswith("openmoji") for each in found(page))
    link = page.current_url
    page.get("about:blank")
    open_page(page, link)
    assert found(page)
    assert one(page, "#facet-style").get_attribute("value") == "openmoji"
    one(page, "#tune").click()
    one(page, "#more summary").click()
    one(page, "#filter").send_keys("height > 3", Keys.TAB)
    until(lambda: 'column "height" not found' in one(page, "#fault").text)
    assert "stale" in one(page, "body").get_attribute("class")


def test_three_ways_stand_side_by_side_and_results_can_be_kept(page, tmp_path):
    page.execute_cdp_cmd("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(tmp_path)})
    pick(page, "red apple (twemoji)")
    one(page, "#text").send_keys("green", Keys.ENTER)
    until(lambda: "text=green" in page.current_url)
    composed = found(page)
    one(page, "#imagine").click()
    frames = until(lambda: page.find_elements(By.CSS_SELECTOR, "#film figure"))
    assert frames[0].find_element(By.TAG_NAME, "figcaption").get_attribute("textContent") == "noise"
    assert frames[-1].find_element(By.TAG_NAME, "figcaption").get_attribute("textContent") == "the answer"
    one(page, "#compare").click()
    columns = until(lambda: page.find_elements(By.CSS_SELECTOR, ".three section"))
    heads = [each.find_element(By.TAG_NAME, "h2").text for each in columns]
    assert heads == ["The picture alone", "The words alone", "Composed"]
    cards = columns[2].find_elements(By.CSS_SELECTOR, ".card")
    assert [card.get_attribute("data-id") for card in cards] == composed[:24]
    for button in ("json", "csv"):
        one(page, "#keep").click()
        one(page, f"#{button}").click()
    kept = until(lambda: (tmp_path / "compodiff.json").is_file() and (tmp_path / "compodiff.json").read_text())
    assert [each["picture_id"] for each in json.loads(kept)["results"]] == composed[:24]
    rows = until(lambda: (tmp_path / "compodiff.csv").is_file() and (tmp_path / "compodiff.csv").read_text())
    assert rows.splitlines()[0].startswith("rank,picture_id,name,score")
    assert rows.splitlines()[1].split(",")[:2] == ["1", composed[0]]


def test_a_query_goes_to_the_page_of_the_api_and_runs_there_as_a_command_and_as_a_program(page, capsys):
    pick(page, "red circle (twemoji)")
    one(page, "#text").send_keys("make it blue", Keys.ENTER)
    until(lambda: "text=make+it+blue" in page.current_url)
    shown = found(page)
    one(page, "#keep").click()
    one(page, "#api").click()
    until(lambda: page.execute_script("return document.body.dataset.ready"))
    one(page, "#go").click()
    names = until(lambda: [each.get_attribute("title") for each in page.find_elements(By.CSS_SELECTOR, "#found img")])
    assert one(page, "#took").text.startswith("200, ")
    one(page, "[data-kind=python]").click()
    exec(one(page, "#same").text, {})  # noqa: S102
    assert [line.split(maxsplit=2)[2] for line in capsys.readouterr().out.splitlines()] == names
    one(page, "[data-kind=curl]").click()
    asked = subprocess.run(one(page, "#same").text, shell=True, capture_output=True, check=True)  # noqa: S602
    one(page, "[data-kind=address]").click()
    answers = json.loads(asked.stdout), httpx.get(one(page, "#same").text).json()
    assert [[each["picture_id"] for each in answer["results"]] for answer in answers] == [shown[:10]] * 2


def test_everything_can_be_reached_from_the_keyboard(page):
    one(page, "body").send_keys("/")
    assert page.switch_to.active_element.get_attribute("id") == "text"
    page.switch_to.active_element.send_keys("a cat", Keys.ENTER)
    found(page)
    one(page, "#grid .show").send_keys(Keys.ARROW_RIGHT)
    assert page.switch_to.active_element.get_attribute("aria-label").startswith("2. ")
    page.switch_to.active_element.send_keys(Keys.ENTER)
    viewer, title = one(page, "#viewer"), one(page, "#viewer-title").text
    assert viewer.get_attribute("open") is not None
    page.switch_to.active_element.send_keys(Keys.ARROW_RIGHT)
    assert one(page, "#viewer-title").text != title
    viewer.send_keys(Keys.ESCAPE)
    page.switch_to.active_element.send_keys("r")
    assert len(page.find_elements(By.CSS_SELECTOR, ".references li")) == 1
    page.execute_script("document.activeElement.blur()")
    one(page, "body").send_keys("?")
    assert "use the picture as the reference" in one(page, "#keys-list").text


def test_the_page_is_usable_within_a_second(page, address):
    page.get("about:blank")
    began = time.perf_counter()
    open_page(page, address)
    assert one(page, "#text").is_enabled()
    # A loaded machine is given twice the second that the page has on its own.
    assert time.perf_counter() - began < 2


def _click_when_still(page, selector):
    """Click what cards may glide over until they stand."""

    def try_to_click():
        try:
            one(page, selector).click()
        except ElementClickInterceptedException:
            return False
        return True

    until(try_to_click)
