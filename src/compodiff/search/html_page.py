"""The answer to one query as one HTML file: pictures are data URIs, nothing is fetched, so it can be kept or sent."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from PIL import Image

from compodiff.storage.atomic import replace_path
from compodiff.storage.ownership import PAGE, make_signature

_THUMBNAIL = 160  # pixels, longer edge

_PAGE_STYLE = """
:root { color-scheme: light dark; }
body { margin: 2rem auto; max-width: 60rem; padding: 0 1rem; font: 16px/1.4 system-ui, sans-serif; }
footer { font-size: .75rem; color: #888; }
"""
# Under a class of its own: in a notebook it stands beside what others draw.
_STYLE = """
.compodiff { --line: #8884; --soft: #888; }
.compodiff * { box-sizing: border-box; }
.compodiff .query { display: flex; gap: 1.5rem; align-items: center; padding-bottom: 1rem; }
.compodiff .query { border-bottom: 1px solid var(--line); }
.compodiff .query p { margin: .2rem 0; font-size: 1.5rem; }
.compodiff .query p.dials { font-size: .85rem; color: var(--soft); }
.compodiff ol { list-style: none; margin: 1rem 0; padding: 0; display: grid; gap: 1rem;
                grid-template-columns: repeat(auto-fill, minmax(9.5rem, 1fr)); }
.compodiff figure { margin: 0; padding: .6rem; border: 1px solid var(--line); border-radius: .6rem; }
.compodiff img { display: block; width: 100%; height: 8rem; object-fit: contain; }
.compodiff img { background: #fff; border-radius: .3rem; }
.compodiff .query img { width: 10rem; height: 10rem; }
.compodiff figcaption { margin-top: .5rem; font-size: .8rem; overflow-wrap: anywhere; }
.compodiff figcaption b { float: right; font-weight: 400; color: var(--soft); font-variant-numeric: tabular-nums; }
"""


@dataclass(frozen=True)
class CaptionedPicture:
    """A picture and what stands under it."""

    picture: Image.Image
    caption: str


@dataclass(frozen=True)
class ShownAnswer:
    """What is shown of a query and its answer.

    Attributes:
        references: pictures of the query.
        relative_caption, negative_text: its texts.
        dials: its numbers in words.
        results: pictures with their cosines, best first.
    """

    references: Sequence[CaptionedPicture]
    relative_caption: str
    negative_text: str
    dials: str
    results: Sequence[tuple[CaptionedPicture, float]]


def write_result_page(path: Path, shown: ShownAnswer, attribution: str) -> None:
    """Write an answer as a page, whole or not at all; see `render_result_page`."""
    page = render_result_page(shown, attribution)
    with replace_path(path, PAGE) as temporary:
        temporary.write_text(page, encoding="utf-8")


def render_result_page(shown: ShownAnswer, attribution: str) -> str:
    """Render an answer as a page; `attribution` says whose the pictures are."""
    title = escape(f"CompoDiff: {shown.relative_caption or 'pictures like the reference'}")
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f'<meta name="generator" content="{make_signature(PAGE)}">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{_PAGE_STYLE}</style></head>'
        f"<body><main>{render_result(shown)}</main><footer>{escape(attribution)}</footer></body></html>\n"
    )


def render_result(shown: ShownAnswer) -> str:
    """Render an answer as a piece of a page, such as a notebook shows."""
    references = "".join(_render_figure(reference, "") for reference in shown.references)
    unwanted = f"<p>not: {escape(shown.negative_text)}</p>" if shown.negative_text else ""
    ranked = enumerate(shown.results, 1)
    items = "".join(f"<li>{_render_figure(it, f'{rank}', f'{score:.3f}')}</li>" for rank, (it, score) in ranked)
    return (
        f'<style>{_STYLE}</style><div class="compodiff"><div class="query">{references}<div>'
        f"<p>{escape(shown.relative_caption)}</p>{unwanted}"
        f'<p class="dials">{escape(shown.dials)}</p></div></div><ol>{items}</ol></div>'
    )


def _render_figure(shown: CaptionedPicture, rank: str, score: str = "") -> str:
    caption = " ".join(part for part in (f"{rank}." if rank else "", shown.caption) if part)
    return (
        f'<figure><img src="{_make_uri(shown.picture)}" alt="{escape(shown.caption)}">'
        f"<figcaption><b>{score}</b>{escape(caption)}</figcaption></figure>"
    )


def _make_uri(picture: Image.Image) -> str:
    thumbnail = picture.copy()
    thumbnail.thumbnail((_THUMBNAIL, _THUMBNAIL))
    stream = io.BytesIO()
    thumbnail.save(stream, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(stream.getvalue()).decode()}"
