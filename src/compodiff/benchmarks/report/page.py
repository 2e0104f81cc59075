"""A result as one HTML file: tables, plots, and queries with their ranked pictures side by side; nothing is fetched."""

import base64
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any
from urllib.parse import urlencode

from PIL import Image

from compodiff.storage.ownership import PAGE, make_signature

_THUMBNAIL = 96  # pixels, longer edge
_SERVED = "http://127.0.0.1:8000/"  # where `compodiff serve` answers
_COLUMNS = ("image_only", "text_only", "composed")
_STYLE = """
:root { color-scheme: light dark; --line: #8883; --soft: #888; --hit: #2f9e63; }
* { box-sizing: border-box; }
body { margin: 2rem auto; max-width: 76rem; padding: 0 1rem; font: 15px/1.45 system-ui, sans-serif; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2.2rem; }
.soft { color: var(--soft); font-size: .85rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .8rem .3rem 0; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
tr.composed td { font-weight: 600; }
td small { color: var(--soft); font-weight: 400; }
.plot { max-width: 100%; background: #fff; border-radius: .5rem; }
.query { display: grid; grid-template-columns: 12rem repeat(3, 1fr); gap: .4rem 1rem; padding: .9rem 0;
         border-top: 1px solid var(--line); }
.query h3 { margin: 0 0 .4rem; font-size: .8rem; font-weight: 400; color: var(--soft); }
.strip { display: flex; flex-wrap: wrap; gap: .3rem; align-content: start; }
.strip img, .asked img { width: 58px; height: 58px; object-fit: contain; background: #fff; border-radius: .3rem;
                         border: 2px solid transparent; }
.strip img.hit { border-color: var(--hit); }
.asked p { margin: .3rem 0 0; }
@media (max-width: 50rem) { .query { grid-template-columns: 1fr; } }
"""

ReadPicture = Callable[[str], Image.Image]


@dataclass(frozen=True)
class ShownQuery:
    """A query of the report.

    Attributes:
        relative_caption, group: in the user's words.
        references: picture ids.
        targets: ids of those that can be found; they are framed where they are.
        ranks: row name -> rank of the best target.
        rankings: row name -> the ids that are shown, best first.
    """

    relative_caption: str
    group: str
    references: Sequence[str]
    targets: Sequence[str]
    ranks: Mapping[str, int]
    rankings: Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class Report:
    """What goes into the page.

    Attributes:
        title: of the page.
        rows: row name -> its summary (see results.summary).
        metrics: which metrics the tables show.
        record: all that the score depends on.
        plots: name -> PNG bytes; the first is of all queries.
        shown: heading -> queries.
        attribution: whose the pictures are.
        edits: measures that the first table shows beside the metrics.
    """

    title: str
    rows: Mapping[str, Mapping[str, Any]]
    metrics: Sequence[str]
    record: Mapping[str, Any]
    plots: Mapping[str, bytes]
    shown: Mapping[str, Sequence[ShownQuery]]
    attribution: str = ""
    edits: Sequence[str] = ()


def render_report(report: Report, read: ReadPicture) -> str:
    """Render the page; `read` returns a picture by its id."""
    thumbnails: dict[str, str] = {}
    sections = [
        f"<h1>{escape(report.title)}</h1>",
        f"<p class=soft>{report.record['queries']} queries; brackets are 95 % intervals, drawn over concepts.</p>",
        _render_table(report),
    ]
    sections.append(_render_paraphrases(report))
    overall, *by_group = [_plot(name, png) for name, png in report.plots.items()]
    sections.append(overall)
    for heading, queries in report.shown.items():
        sections.append(f"<h2>{escape(heading)}</h2><p class=soft>A target that was found is framed.</p>")
        # The record says how the index serves these queries where it is of their gallery.
        is_served = "index" in report.record
        sections.extend(_render_query(query, read, thumbnails, is_served=is_served) for query in queries)
    sections.extend(by_group)
    if any("groups" in row for row in report.rows.values()):
        sections.append(f"<h2>By group</h2>{_render_groups(report)}")
    record = json.dumps(report.record, indent=2, sort_keys=True)
    sections.append(f"<h2>What the score depends on</h2><pre class='soft wide'>{escape(record)}</pre>")
    sections.append(f"<p class=soft>{escape(report.attribution)}</p>")
    head = f"<meta charset=utf-8><title>{escape(report.title)}</title>"
    head += f"<meta name=generator content={make_signature(PAGE)}>"
    viewport = "<meta name=viewport content='width=device-width, initial-scale=1'>"
    body = "\n".join(sections)
    return (
        f"<!doctype html><html lang=en><head>{head}{viewport}<style>{_STYLE}</style></head><body>{body}</body></html>\n"
    )


def _plot(name: str, png: bytes) -> str:
    caption = escape(name.replace("_", " ").capitalize())
    return f"<h2>{caption}</h2><img class=plot alt='{caption}' src='{_make_uri(png)}'>"


def _render_table(report: Report) -> str:
    measures = (*report.metrics, *report.edits)
    head = "".join(f"<th>{measure.replace('_', ' ')}</th>" for measure in measures)
    lines = []
    for name, row in report.rows.items():
        cells = "".join(_render_cell(row["metrics"][measure], row["intervals"][measure]) for measure in measures)
        lines.append(f"<tr class={name}><td>{name.replace('_', ' ')}</td>{cells}</tr>")
    return f"<div class=wide><table><tr><th></th>{head}</tr>{''.join(lines)}</table></div>"


def _render_paraphrases(report: Report) -> str:
    """Say by how much the wording matters, where queries are paraphrases."""
    spreads = {name: row["paraphrases"] for name, row in report.rows.items() if "paraphrases" in row}
    if not spreads:
        return ""
    metrics = [metric for metric in report.metrics if all(metric in each["range"] for each in spreads.values())]
    head = "".join(f"<th>{metric.replace('_', ' ')}</th>" for metric in metrics)
    lines = "".join(
        f"<tr><td>{name.replace('_', ' ')} <small>{each['intents']}</small></td>"
        + "".join(f"<td>{100 * each['range'][metric]:.1f}</td>" for metric in metrics)
        + "</tr>"
        for name, each in spreads.items()
    )
    about = "<p class=soft>from the best to the worst wording of one intent, per cent; the mean over intents</p>"
    return f"<h2>By wording</h2>{about}<div class=wide><table><tr><th></th>{head}</tr>{lines}</table></div>"


def _render_cell(value: float, interval: Sequence[float]) -> str:
    low, high = interval
    return f"<td>{100 * value:.1f} <small>[{100 * low:.1f}, {100 * high:.1f}]</small></td>"


def _render_groups(report: Report) -> str:
    """Return one table: groups down, rows of the result across, the last metric of each."""
    names = [name for name, row in report.rows.items() if "groups" in row]
    head = "".join(f"<th>{name.replace('_', ' ')}</th>" for name in names)
    lines = []
    for group, first in report.rows[names[0]]["groups"].items():
        cells = "".join(_render_group_cell(report.rows[name]["groups"][group], report.metrics) for name in names)
        lines.append(f"<tr><td>{escape(group.replace('_', ' '))} <small>{first['queries']}</small></td>{cells}</tr>")
    what = " / ".join(metric.replace("_", " ") for metric in report.metrics)
    table = f"<table><tr><th></th>{head}</tr>{''.join(lines)}</table>"
    return f"<p class=soft>{what}, per cent</p><div class=wide>{table}</div>"


def _render_group_cell(values: Mapping[str, float], metrics: Sequence[str]) -> str:
    return f"<td>{' / '.join(f'{100 * values[metric]:.1f}' for metric in metrics)}</td>"


def _link_to_page(query: ShownQuery) -> str:
    again = urlencode({"reference_id": query.references, "text": query.relative_caption}, doseq=True)
    told = "while `compodiff serve` runs"
    return f'<p class=soft><a href="{escape(f"{_SERVED}#{again}")}" title="{told}">ask it on the page</a></p>'


def _render_query(query: ShownQuery, read: ReadPicture, thumbnails: dict[str, str], *, is_served: bool) -> str:
    reference = "".join(_render_image(name, read, thumbnails) for name in query.references)
    targets = "".join(_render_image(target, read, thumbnails) for target in query.targets[:2])
    group = _link_to_page(query) if is_served else ""
    group += f"<p class=soft>{escape(query.group.replace('_', ' '))}</p>" if query.group else ""
    caption = f"<p>{escape(query.relative_caption)}</p>"
    asked = f"<h3>reference, target</h3><div class=asked>{reference}{targets}{caption}{group}</div>"
    columns = []
    for name in (each for each in _COLUMNS if each in query.rankings):
        strip = "".join(
            _render_image(found, read, thumbnails, css="hit" if found in query.targets else "")
            for found in query.rankings[name]
        )
        heading = f"{name.replace('_', ' ')}: target at {query.ranks[name]}"
        columns.append(f"<h3>{heading}</h3><div class=strip>{strip}</div>")
    return f"<div class=query>{''.join(f'<div>{cell}</div>' for cell in (asked, *columns))}</div>"


def _render_image(picture: str, read: ReadPicture, thumbnails: dict[str, str], css: str = "") -> str:
    if picture not in thumbnails:
        thumbnails[picture] = _make_uri(_make_thumbnail(read(picture)))
    name = escape(picture)
    return f"<img class='{css}' alt='{name}' title='{name}' loading=lazy src='{thumbnails[picture]}'>"


def _make_thumbnail(image: Image.Image) -> bytes:
    """Return a small picture: PNG where parts are transparent, otherwise JPEG."""
    image.thumbnail((_THUMBNAIL, _THUMBNAIL))
    stream = io.BytesIO()
    if image.has_transparency_data:
        image.convert("RGBA").quantize(128, method=Image.Quantize.FASTOCTREE).save(stream, "PNG", optimize=True)
    else:
        image.convert("RGB").save(stream, "JPEG", quality=80)
    return stream.getvalue()


def _make_uri(content: bytes) -> str:
    kind = "png" if content.startswith(b"\x89PNG") else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
