"""What goes wrong around the page: a huge picture in the clipboard, two tabs, a network that goes and comes back."""

import time

import pytest

pytest.importorskip("selenium", reason="selenium drives the browser; pip install '.[test]'")
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from worlds.browser import CHROMIUM, DRIVER, found, one, open_page, until

pytestmark = pytest.mark.skipif(
    not (CHROMIUM and DRIVER), reason="no browser here; apt-get install chromium chromium-driver"
)
_SHOWN = "return [...document.querySelectorAll('#grid .card')].map((card) => card.dataset.id)"
_PASTE = """
    const [wide, high, broken] = [4200, 4000, arguments[0]];
    const bytes = new Uint8Array(54 + wide * high * 3).fill(120);
    const head = new DataView(bytes.buffer);
    const fields = {2: bytes.length, 10: 54, 14: 40, 18: wide, 22: high, 26: 1 + (24 << 16), 30: 0, 34: 0};
    for (const [at, value] of Object.entries(fields)) head.setUint32(Number(at), value, true);
    bytes.set(broken ? [0, 0] : [66, 77]);
    const clipboard = new DataTransfer();
    clipboard.items.add(new File([bytes], "image.png", {type: "image/png"}));
    document.dispatchEvent(new ClipboardEvent("paste", {clipboardData: clipboard}));"""


def test_a_picture_of_50_mb_from_the_clipboard_is_made_smaller_or_refused_in_one_line(page):
    page.execute_script(_PASTE, True)
    fault = one(page, "#fault")
    until(lambda: fault.text == "image.png has 48.1 MiB; the server takes 20.0 MiB. Make it smaller.")
    page.execute_script(_PASTE, False)
    assert len(found(page)) >= 24
    assert not fault.is_displayed()
    assert not one(page, "#notice").is_displayed()
    assert one(page, ".references .shown").get_attribute("title").startswith("image.png")


def test_more_pictures_of_the_gallery_come_once_though_it_is_pressed_twice(page):
    one(page, "#add").click()
    one(page, "#browse").click()
    listed = "return [...document.querySelectorAll('#gallery-grid .pick')].map((each) => each.title)"
    until(lambda: len(page.execute_script(listed)) == 60)
    for count in (120, 157):
        page.execute_script("arguments[0].click(); arguments[0].click()", one(page, "#gallery-more"))
        until(lambda count=count: len(page.execute_script(listed)) >= count)
        time.sleep(0.3)  # a second answer would come
        names = page.execute_script(listed)
        assert len(names) == len(set(names)) == count


def test_the_page_works_where_the_browser_keeps_nothing(chromium, address):
    forbid = (
        """Object.defineProperty(window, "localStorage", {get() { throw new DOMException("no", "SecurityError"); }})"""
    )
    script = chromium.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": forbid})
    try:
        chromium.get("about:blank")
        open_page(chromium, f"{address}#text=a+cat")
        assert len(found(chromium)) >= 24
        before = one(chromium, "html").get_attribute("data-theme")
        chromium.execute_script("document.querySelector('#theme').click()")
        assert one(chromium, "html").get_attribute("data-theme") != before
    finally:
        chromium.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", script)


def test_two_tabs_ask_beside_each_other_and_share_the_searches_that_are_kept(chromium, address):
    chromium.get("about:blank")
    open_page(chromium, f"{address}#text=a+cat")
    first, before = found(chromium), chromium.current_window_handle
    chromium.switch_to.new_window("tab")
    open_page(chromium, f"{address}#text=a+red+heart")
    second = found(chromium)
    one(chromium, "#keep").click()
    one(chromium, "#save").click()
    assert "Kept in this browser" in one(chromium, "#status").text
    chromium.close()
    chromium.switch_to.window(before)
    assert found(chromium) == first
    one(chromium, "#home").click()
    kept = until(lambda: chromium.find_elements(By.CSS_SELECTOR, "#searches button"))
    assert [each.text for each in kept] == ["“a red heart”", ""]
    kept[0].click()
    assert found(chromium)[: len(second)] == second
    one(chromium, "#home").click()
    until(lambda: one(chromium, "#saved").is_displayed())
    one(chromium, "#searches [aria-label='Forget “a red heart”']").click()
    assert not one(chromium, "#saved").is_displayed()


def test_a_network_that_goes_in_the_middle_of_a_search_is_one_line_and_the_search_goes_on_when_it_is_back(
    chromium, address
):
    chromium.get("about:blank")
    open_page(chromium, f"{address}#text=a+cat")
    first = found(chromium)
    notice, text = one(chromium, "#notice-text"), one(chromium, "#text")
    chromium.execute_cdp_cmd("Fetch.enable", {"patterns": [{"urlPattern": "*/search"}]})  # a search that hangs
    chromium.execute_script("arguments[0].value = 'a cat in red'", text)
    text.send_keys(Keys.ENTER)
    _set_network(chromium, is_offline=True)
    try:
        until(lambda: notice.text.startswith("The server does not answer."))
        assert chromium.execute_script(_SHOWN) == first
        assert "stale" in one(chromium, "body").get_attribute("class")
        assert not one(chromium, "#fault").is_displayed(), "it is said twice"
        text.send_keys(" hat")
    finally:
        chromium.execute_cdp_cmd("Fetch.disable", {})
        _set_network(chromium, is_offline=False)
    until(lambda: "text=a+cat+in+red+hat" in chromium.current_url)
    assert found(chromium) != first
    assert not one(chromium, "#fault").is_displayed()
    until(lambda: not notice.is_displayed())
    chromium.get_log("browser")  # what the console says of requests without a network


def _set_network(driver, *, is_offline):
    driver.execute_cdp_cmd("Network.enable", {})
    kind = {"offline": is_offline, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
    driver.execute_cdp_cmd("Network.emulateNetworkConditions", kind)
