"""The answer to one query as one HTML file: pictures are data URIs, nothing is fetched, so it can be kept or sent."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from PIL import Image

from compodiff.storage.ownership import PAGE, make_signature

_THUMBNAIL = 160  # pixels, longer edge

_STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #888; }
* { box-sizing: border-box; }
body { margin: 2rem auto; max-width: 60rem; padding: 0 1rem; font: 16px/1.4 system-ui, sans-serif; }
.query { display: flex; gap: 1.5rem; align-items: center; padding-bottom: 1.5rem; border-bottom: 1px solid #8884; }
.query p { margin: .2rem 0; font-size: 1.5rem; }
.query p.dials { font-size: .85rem; color: var(--soft); }
ol { list-style: none; margin: 1.5rem 0; padding: 0; display: grid; gap: 1rem;
     grid-template-columns: repeat(auto-fill, minmax(9.5rem, 1fr)); }
figure { margin: 0; padding: .6rem; border: 1px solid var(--line); border-radius: .6rem; }
img { display: block; width: 100%; height: 8rem; object-fit: contain; background: #fff; border-radius: .3rem; }
.query img { width: 10rem; height: 10rem; }
figcaption { margin-top: .5rem; font-size: .8rem; overflow-wrap: anywhere; }
figcaption b { float: right; font-weight: 400; color: var(--soft); font-variant-numeric: tabular-nums; }
footer { font-size: .75rem; color: var(--soft); }
"""


@dataclass(frozen=True)
class CaptionedPicture:
    """A picture and what stands under it."""

    picture: Image.Image
    caption: str


def render_result_page(
    *,
    references: Sequence[CaptionedPicture],
    relative_caption: str,
    negative_text: str,
    dials: str,
    results: Sequence[tuple[CaptionedPicture, float]],
    attribution: str,
) -> str:
    """Render a query and its pictures with their cosines, best first; `dials` are its numbers in words."""
    shown = "".join(_render_figure(reference, "") for reference in references)
    unwanted = f"<p>not: {escape(negative_text)}</p>" if negative_text else ""
    ranked = enumerate(results, 1)
    items = "".join(f"<li>{_render_figure(it, f'{rank}', f'{score:.3f}')}</li>" for rank, (it, score) in ranked)
    title = escape(f"CompoDiff: {relative_caption or 'pictures like the reference'}")
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f'<meta name="generator" content="{make_signature(PAGE)}">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{_STYLE}</style></head><body>'
        f'<header class="query">{shown}<div><p>{escape(relative_caption)}</p>{unwanted}'
        f'<p class="dials">{escape(dials)}</p></div></header>'
        f"<main><ol>{items}</ol></main><footer>{escape(attribution)}</footer></body></html>\n"
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
