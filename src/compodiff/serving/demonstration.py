"""The demonstration's gallery: emoji drawn from the pinned packages on this machine, and queries over them.

The wheel names the pictures and has the queries, but none of the drawings.
"""

import json
from pathlib import Path
from typing import Any

from tqdm import tqdm

from compodiff.benchmarks.datasets.assembled import DESCRIPTION
from compodiff.bundled import read_description
from compodiff.catalogue.drawing import STYLES, draw
from compodiff.errors import InputInvalid
from compodiff.project import ATTRIBUTION, find_home
from compodiff.search.located import DEMO, find_demo_gallery
from compodiff.serving.waking import Tell
from compodiff.storage.atomic import replace_folder, write_json

KIND = "demonstration"
_SIZE = 160  # pixels, as the model learned them
_SPLIT = "validation"


def draw_demonstration(tell: Tell, *, is_quiet: bool = False) -> Path:
    """Draw the gallery of the installation's model into the home, where it is not there yet, and return its folder.

    Args:
        tell: is told how far it is.
        is_quiet: show no bar.

    Raises:
        InputInvalid: this installation carries no model.
        ResourceUnavailable: a package with drawings is missing, or the home cannot be written.
    """
    said, gallery = read_description(), find_demo_gallery()
    if said is None:
        raise InputInvalid("this installation carries no demonstration; a released wheel does")
    home = find_home() / DEMO
    if _read_model(home) == said["name"]:
        return gallery
    drawings = {style.key: style.list_drawings() for style in STYLES}
    named = {each: make_file_name(name) for each, name in said["demo"]["pictures"].items()}
    with replace_folder(home, KIND) as temporary:
        (temporary / gallery.name).mkdir()
        for done, (each, file) in enumerate(tqdm(named.items(), "drawing", unit=" pictures", disable=is_quiet or None)):
            style, _, codepoints = each.partition("-")
            (temporary / gallery.name / f"{file}.png").write_bytes(draw(drawings[style][codepoints], _SIZE).png)
            tell(f"waking up: drawing the gallery, {done + 1} of {len(named)}", 0.4 + 0.1 * done / len(named))
        lines = [json.dumps(_rename(query, named), ensure_ascii=False) for query in said["demo"]["queries"]]
        (temporary / f"queries.{_SPLIT}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
        described = {"name": DEMO, "format": "triplets", "root": ".", "split": _SPLIT, "validation": _SPLIT}
        write_json(temporary / DESCRIPTION, {**described, "attribution": ATTRIBUTION})
        write_json(temporary / "model.json", {"name": said["name"]})
    return gallery


def make_file_name(name: str) -> str:
    """Return a picture's name as one of a file; no two names of emoji become one."""
    return name.replace("/", " ").replace(": ", ", ").strip(". ")


def _read_model(home: Path) -> str | None:
    """Return the name of the model whose demonstration is at `home`; None without one."""
    try:
        return str(json.loads((home / "model.json").read_text(encoding="utf-8"))["name"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _rename(query: dict[str, Any], named: dict[str, str]) -> dict[str, Any]:
    targets = [named[each] for each in query["targets"] if each in named]
    return {**query, "reference": named[query["reference"]], "targets": targets}
