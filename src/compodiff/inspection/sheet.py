"""The contact sheet: one HTML file that fetches nothing, to sort, filter and rate triplets by hand."""

import base64
import io
import json
from collections.abc import Mapping, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any

import pandas as pd
from PIL import Image

from compodiff.inspection.drawing import SCORES, SheetRow, read_pictures
from compodiff.sets import open_set
from compodiff.storage.atomic import replace_path
from compodiff.storage.ownership import PAGE, make_signature
from compodiff.validation.reading import read_floors

THUMBNAIL = 160  # pixels, longer edge
_TEXTS = ("key", "relation", "split", "relative_caption", "reference_caption", "target_caption", "rejected_by")


def write_sheet(dataset: Path, rows: pd.DataFrame, html: Path) -> None:
    """Write a sheet of rows of a set.

    Raises:
        InputInvalid: a shard is damaged.
    """
    shown = read_pictures(dataset, rows)
    floors, licence = read_floors(dataset), open_set(dataset).description.licence
    page = render_sheet(dataset.resolve().name, shown, floors.model_dump() if floors else {}, licence)
    with replace_path(html, PAGE) as temporary:
        temporary.write_text(page, encoding="utf-8")


def render_sheet(name: str, shown: Sequence[SheetRow], floors: Mapping[str, float], attribution: str = "") -> str:
    """Render the sheet.

    Args:
        name: of the dataset; ratings are kept in the browser under it and the keys of its triplets.
        shown: triplets, in the order in which they stand at first.
        floors: score -> what the filters ask for; a score below it is marked.
        attribution: whose the pictures are.
    """
    pictures: dict[str, int] = {}
    rows = [_make_row(each, pictures) for each in shown]
    content = {
        "name": name,
        "scores": [score for score in SCORES if any(score in each.row for each in shown)],
        "floors": dict(floors),
        "rows": rows,
        "pictures": list(pictures),
    }
    # "</script>" in a caption must not end the element it stands in.
    embedded = json.dumps(content, ensure_ascii=False, allow_nan=False).replace("<", "\\u003c")
    page = files("compodiff.inspection") / "page"
    parts = {part: (page / f"sheet.{part}").read_text(encoding="utf-8") for part in ("html", "css", "js")}
    values = {"title": escape(name), "style": parts["css"], "script": parts["js"], "data": embedded}
    values |= {"attribution": escape(attribution), "generator": make_signature(PAGE)}
    document = parts["html"]
    # The data last: a caption may hold a place's name.
    for place in ("title", "generator", "style", "script", "attribution", "data"):
        document = document.replace("{{" + place + "}}", values[place])
    return document


def _make_row(shown: SheetRow, pictures: dict[str, int]) -> dict[str, Any]:
    row = shown.row
    scores = {score: float(row[score]) for score in SCORES if row.get(score) is not None and row[score] == row[score]}
    return {
        **{name: str(row.get(name, "")) for name in _TEXTS},
        "accepted": bool(row["accepted"]),
        "scores": scores,
        **{
            name: None if picture is None else pictures.setdefault(_make_uri(picture), len(pictures))
            for name, picture in (("reference", shown.reference), ("target", shown.target), ("mask", shown.mask))
        },
    }


def _make_uri(picture: Image.Image) -> str:
    small = picture.copy()
    small.thumbnail((THUMBNAIL, THUMBNAIL))
    stream = io.BytesIO()
    if small.mode in ("1", "L", "P") or small.has_transparency_data:
        small.save(stream, "PNG", optimize=True)
        return f"data:image/png;base64,{base64.b64encode(stream.getvalue()).decode()}"
    small.convert("RGB").save(stream, "WEBP", quality=82)
    return f"data:image/webp;base64,{base64.b64encode(stream.getvalue()).decode()}"
