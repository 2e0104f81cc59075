"""The page's states at three widths, light and dark: what must be in sight, and that a checker finds nothing."""

import base64
import io
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("selenium", reason="selenium drives the browser; pip install '.[test]'")
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webdriver import WebDriver
from worlds.browser import (
    CHROMIUM,
    DRIVER,
    found,
    list_broken_rules,
    open_page,
    prefer_colours,
    serving,
    until,
)
from worlds.search import places_in

from compodiff.serving.champion import Champion

pytestmark = pytest.mark.skipif(
    not (CHROMIUM and DRIVER), reason="no browser here; apt-get install chromium chromium-driver"
)
WIDTHS = {360: 740, 1366: 768, 2560: 1440}
GROUNDS = {"light": "rgb(251, 251, 253)", "dark": "rgb(14, 15, 20)"}
TOKEN = "open sesame"  # noqa: S105
_FACTS = """
    const box = (each) => each.getBoundingClientRect();
    const shown = (each) => each.offsetParent && getComputedStyle(each).visibility === "visible";
    const open = document.querySelector("dialog[open]") ?? document.body;
    const pressed = [...open.querySelectorAll("button")].filter((each) => shown(each) && !each.closest(".tools"));
    return {
      wide: document.documentElement.scrollWidth,
      button: box(document.getElementById("go")).bottom,
      ground: getComputedStyle(document.body).backgroundColor,
      small: pressed.filter((each) => box(each).height < 24 || box(each).width < 24).map((each) => each.outerHTML),
      outside: pressed.filter((each) => box(each).right > innerWidth + 1 && !each.closest("ul, ol, .frames, .wall"))
        .map((each) => each.outerHTML),
      cards: [...document.querySelectorAll("#grid .card")].map(box).map(({left, right, top}) => [left, right, top]),
    };"""


@pytest.fixture(scope="module")
def champion(search_project) -> Champion:
    return Champion(lambda: places_in(search_project / "artifacts"))


def _require_good_layout(page: WebDriver, state: str) -> None:
    """Look at the page as it is, at every width, light and dark."""
    for scheme, ground in GROUNDS.items():
        prefer_colours(page, scheme)
        for wide, high in WIDTHS.items():
            metrics = {"width": wide, "height": high, "deviceScaleFactor": 1, "mobile": wide < 800}
            page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
            until(lambda: page.execute_script(_FACTS)["ground"] == ground)  # noqa: B023
            facts, where = page.execute_script(_FACTS), f"{state}, {wide} px, {scheme}"
            assert facts["wide"] <= wide, f"{where}: scrolls sideways"
            assert facts["button"] <= high, f"{where}: Search is below the fold"
            assert facts["small"] == [], where
            assert facts["outside"] == [], where
            _require_good_picture(page, scheme, where)
        if state in _CHECKED[scheme]:
            rules = ("color-contrast",) if scheme == "dark" else ()  # colours alone differ between the two
            assert list_broken_rules(page, *rules) == [], f"{state}, {scheme}"


def _require_good_picture(page: WebDriver, scheme: str, where: str) -> None:
    """Take a picture of the window, a quarter as large: it is neither empty nor of the other scheme's brightness.

    COMPODIFF_STATES names a folder that keeps the pictures, for a person to look at.
    """
    shot = page.execute_cdp_cmd("Page.captureScreenshot", {"format": "png", "optimizeForSpeed": True})
    picture = Image.open(io.BytesIO(base64.b64decode(shot["data"])))
    if folder := os.environ.get("COMPODIFF_STATES"):
        picture.save(Path(folder, f"{where}.png"))
    grey = np.asarray(picture.convert("L").reduce(4))
    assert grey.std() > 5, f"{where}: an empty picture"
    is_light = bool(np.median(grey) > 128)
    is_behind_dialog = page.execute_script("return Boolean(document.querySelector('dialog[open]'))")
    expected = {False} if scheme == "dark" else {True, not is_behind_dialog}  # what is behind a dialog is darkened
    assert is_light in expected, f"{where}: most of the window has the other scheme's brightness"


def test_every_state_at_every_width_in_both_colours(chromium, champion):
    with serving(champion, token=TOKEN) as address:
        chromium.get(f"{address}docs#reference_id=twemoji-1F534&text=make+it+blue")
        until(lambda: chromium.execute_script("return document.body.dataset.ready"))
        assert '"text":"make it blue"' in chromium.find_element(By.ID, "same").text
        _require_good_layout(chromium, "API")
        chromium.get(address)
        door = chromium.find_element(By.ID, "door-text")
        until(door.is_displayed)
        _require_good_layout(chromium, "door")
        chromium.find_element(By.ID, "token").send_keys("sesame", Keys.ENTER)
        until(lambda: door.text == "That was not it. Try again.")
        chromium.find_element(By.ID, "token").send_keys(TOKEN, Keys.ENTER)
        until(lambda: len(chromium.find_elements(By.CSS_SELECTOR, "#starters .card")) > 10)
        assert chromium.find_element(By.ID, "w_text").get_attribute("value") == "1.75", "the model's dials were not set"
        _require_good_layout(chromium, "first screen")

        chromium.find_element(By.CSS_SELECTOR, "#starters .show").click()
        chromium.find_element(By.ID, "text").send_keys("in red", Keys.ENTER)
        until(lambda: "text=in+red" in chromium.current_url)
        _require_good_layout(chromium, "answer")
        _require_justified_rows(chromium)

        for state, opening, holds in _STATES:
            chromium.execute_script(opening)
            until(lambda: chromium.execute_script(f"return !document.body.dataset.busy && ({holds})"))  # noqa: B023
            if state:
                _require_good_layout(chromium, state)
                chromium.execute_script("document.querySelector('dialog[open]')?.close()")


# (state, what leads to it, what then holds); one without a name is a step to the next.
_STATES = [
    ("answer with drawer", "tune.click(); more.open = true", "!drawer.hidden"),
    ("large picture", "tune.click(); document.querySelector('#grid .show').click()", "viewer.open"),
    (
        "before and after",
        """document.querySelector('#grid .show').click();
        document.querySelectorAll('#viewer-acts button')[1].click()""",
        "document.querySelector('.compared')",
    ),
    ("mask editor", "document.querySelector('.references .shown').click()", "editor.open"),
    ("keyboard", "help.click()", "document.getElementById('keys').open"),
    ("gallery", "browse.click()", "gallery.open"),
    ("film and fault", "imagine.click(); fault.hidden = false; fault.textContent = 'This went wrong.'", "true"),
    ("three ways", "compare.click()", "document.getElementById('three')"),
    ("sources", "compare.click(); add.click()", "sources.matches(':popover-open')"),
    ("share", "keep.click()", "kept.matches(':popover-open')"),
    ("kept searches", "save.click(); home.click()", "!saved.hidden && !document.getElementById('empty').hidden"),
    ("", "document.querySelector('#searches button').click()", "document.querySelector('#grid .show')"),
    (
        "trail",
        """document.querySelector('#grid .show').dispatchEvent(
        new KeyboardEvent('keydown', {key: 'r', bubbles: true}))""",
        "!trail.hidden",
    ),
    ("words alone", "document.querySelector('.drop-it').click(); query.text.value = 'qwrtz'; go.click()", "true"),
    (
        "nothing found",
        "filter.value = \"name = ''\"; filter.dispatchEvent(new Event('change'))",
        "document.getElementById('status').textContent.startsWith('Nothing')",
    ),
    (
        "waking",
        """filter.value = ''; filter.dispatchEvent(new Event('change'));
        notice.hidden = waking.hidden = false; waking.value = 0.4;
        document.getElementById('notice-text').textContent = 'waking up: opening the model'""",
        "true",
    ),
]
# The checker takes a second a state; what one state holds whole is not checked in another.
_MAIN = {"kept searches", "answer with drawer", "before and after", "mask editor", "film and fault", "three ways"}
_CHECKED = {"light": {*_MAIN, "door", "keyboard", "gallery", "API", "share", "trail", "waking"}, "dark": _MAIN}


def _require_justified_rows(page: WebDriver) -> None:
    """Rows begin and end at the same places, and there are as many as fill the window."""
    cards = page.execute_script(_FACTS)["cards"]
    rows: dict[int, list[list[float]]] = {}
    for card in cards:
        rows.setdefault(round(card[2]), []).append(card)
    *full, _ = [row for _, row in sorted(rows.items())]
    assert len(full) >= 3
    assert max(row[0][0] for row in full) - min(row[0][0] for row in full) < 1
    assert max(row[-1][1] for row in full) - min(row[-1][1] for row in full) < 2
    assert full[0][-1][1] > max(WIDTHS) - 60, "the wall does not reach the edge"


def test_a_server_that_restarts_under_the_page_is_waited_for(chromium, champion):
    prefer_colours(chromium)
    chromium.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    chromium.set_window_size(1366, 900)
    with serving(champion) as address:
        open_page(chromium, f"{address}#text=a+cat")
        chromium.refresh()
        first = found(chromium)
    text, notice = chromium.find_element(By.ID, "text"), chromium.find_element(By.ID, "notice")
    text.send_keys(" in red")
    until(lambda: "The server does not answer" in notice.text)
    with serving(champion, port=int(address.rstrip("/").rpartition(":")[2])):
        until(lambda: not notice.is_displayed())
        until(lambda: found(chromium) != first)
        assert not chromium.find_element(By.ID, "fault").is_displayed()
        assert len(found(chromium)) >= len(first)
