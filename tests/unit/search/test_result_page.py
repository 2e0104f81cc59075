from html.parser import HTMLParser

from PIL import Image

from compodiff.search.html_page import CaptionedPicture, ShownAnswer, render_result_page


class _Parts(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.sources: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.sources.extend(value for name, value in attrs if name in ("src", "href"))

    def handle_data(self, data):
        self.text.append(data)


def _page(text: str, negative: str = "", *, reference: bool = True) -> _Parts:
    shown = CaptionedPicture(Image.new("RGBA", (640, 320), "red"), text)
    parts = _Parts()
    answer = ShownAnswer(
        references=[shown] if reference else [],
        relative_caption=text,
        negative_text=negative,
        dials="w_image 1.5, w_text 3",
        results=[(shown, 0.75), (CaptionedPicture(Image.new("RGB", (8, 8)), "second"), 0.5)],
    )
    parts.feed(render_result_page(answer, attribution="drawn by people"))
    return parts


def test_the_page_shows_the_query_and_the_ranking_and_fetches_nothing():
    parts = _page("with a hat", "blue")
    assert len(parts.sources) == 3
    assert all(source.startswith("data:image/png;base64,") for source in parts.sources)
    shown = " ".join(parts.text)
    for expected in ("with a hat", "not: blue", "0.750", "2. second", "0.500", "drawn by people", "w_image 1.5"):
        assert expected in shown
    assert len(_page("with a hat", reference=False).sources) == 2


def test_what_a_user_types_is_text_and_never_markup():
    hostile = "<script>alert('x')</script>\" onerror=\"alert(1)"
    parts = _page(hostile, hostile)
    assert "script" not in parts.tags
    assert hostile in parts.text
