"""The dataset card: where a set comes from, under which licences, how many rows passed, and what they are like."""

import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from compodiff.errors import InputInvalid
from compodiff.inspection import plots
from compodiff.inspection.drawing import SCORES, find_catalogue, read_pictures, read_rows
from compodiff.project import ATTRIBUTION
from compodiff.sets import PAIRS, TRIPLETS, SetDescription, open_set
from compodiff.storage.atomic import replace_folder
from compodiff.storage.ownership import require_apart
from compodiff.validation.reading import read_floors

_SHOWN = 12  # rows as pictures on top of the card
_LITTLE = 0.25  # share of a relation's rows
_LICENCE = re.compile(r"creativecommons\.org/licenses/([a-z-]+)/(\d\.\d)")
_KINDS = {
    TRIPLETS: "Triplets of a reference, a relative caption and a target",
    PAIRS: "Pictures with the texts that describe them",
}
_SIZES = {
    **{1_000: "n<1K", 10_000: "1K<n<10K", 100_000: "10K<n<100K"},
    **{1_000_000: "100K<n<1M", 10_000_000: "1M<n<10M", 100_000_000: "10M<n<100M"},
}


@dataclass(frozen=True)
class DatasetOrigin:
    """Whose a dataset is.

    Attributes:
        name: of the dataset.
        attribution: Markdown that says who made the pictures and captions, "" if unknown.
        licences: names as the Hugging Face hub has them ("cc-by-4.0"); taken from the attribution's links if empty.
        licence_texts: a folder of licences to put beside the card.
        floors: what the filters ask for.
    """

    name: str
    attribution: str
    licences: tuple[str, ...] = ()
    licence_texts: Path | None = None
    floors: Mapping[str, float] | None = None


def find_origin(dataset: Path, name: str | None, attribution: Path | None, licences: tuple[str, ...]) -> DatasetOrigin:
    """Say whose a set is: as the file `attribution` says, or its set.json.

    Raises:
        InputInvalid: `attribution` is not there.
    """
    said, texts = open_set(dataset).description.licence, None
    if attribution is not None:
        if not attribution.is_file():
            raise InputInvalid(f"{attribution} is not there; give a Markdown file")
        said = attribution.read_text(encoding="utf-8")
    elif said == ATTRIBUTION and (data := find_catalogue()) is not None:
        said, texts = (data / "ATTRIBUTION.md").read_text(encoding="utf-8"), data / "licences"
    floors = read_floors(dataset)
    return DatasetOrigin(
        name or dataset.resolve().name, said, licences, texts, None if floors is None else floors.model_dump()
    )


def write_card(dataset: Path, to: Path, origin: DatasetOrigin, validated: Path | None = None) -> None:
    """Write README.md with front matter of the Hugging Face hub, plots/ and licences/.

    Raises:
        InputInvalid: there is no set, or `to` holds something else than a card.
    """
    rows = read_rows(dataset, validated)
    require_apart(to, dataset)
    with replace_folder(to, "dataset card") as folder:
        (folder / "plots").mkdir()
        for name, png in plots.plot_dataset(rows, origin.floors or {}).items():
            (folder / "plots" / f"{name}.png").write_bytes(png)
        shown = read_pictures(dataset, _pick_examples(rows))
        (folder / "plots" / "examples.png").write_bytes(plots.draw_examples(shown))
        if origin.licence_texts is not None:
            shutil.copytree(origin.licence_texts, folder / "licences")
        (folder / "README.md").write_text(render_card(rows, origin, open_set(dataset).description), encoding="utf-8")


def render_card(rows: pd.DataFrame, origin: DatasetOrigin, made: SetDescription) -> str:
    """Return the card as Markdown."""
    accepted = rows[rows["accepted"]]
    licences = origin.licences or tuple(sorted({f"cc-{a}-{b}" for a, b in _LICENCE.findall(origin.attribution)}))
    size = next((name for most, name in _SIZES.items() if len(accepted) < most), "100M<n<1B")
    front = {
        "pretty_name": origin.name,
        "language": ["en"],
        "license": list(licences) if licences else ["unknown"],
        "task_categories": ["image-to-image", "image-feature-extraction"],
        "size_categories": [size],
        "tags": ["composed-image-retrieval", made.kind],
    }
    sections = [
        f"---\n{yaml.safe_dump(front, sort_keys=False)}---\n\n# {origin.name}",
        f"{_KINDS[made.kind]}: {len(accepted):,} of {len(rows):,} rows passed the filters.{_warn_of_losses(rows)}",
        _render_picture("examples", "Accepted rows: reference, relative caption, target"),
        f"## Contents\n\n{_render_table(rows)}",
        f"## Filters\n\n{_render_filters(rows, origin.floors or {})}\n\n"
        f"{_render_picture('scores', 'Scores of kept and rejected')}\n\n"
        f"{_render_picture('acceptance', 'Acceptance by relation')}",
        f"## Statistics\n\n{_render_texts(accepted)}\n\n{_render_picture('relations', 'Triplets by relation')}\n\n"
        f"{_render_picture('lengths', 'Words of a caption')}",
        f"## Examples\n\n{_render_examples(accepted)}",
        f"## How it was made\n\n{_render_making(made)}",
        f"## Sources and licences\n\n{origin.attribution.strip() or 'Not recorded.'}",
    ]
    return "\n\n".join(sections) + "\n"


def _pick_examples(rows: pd.DataFrame) -> pd.DataFrame:
    """Pick accepted rows to show as pictures, relations in turn."""
    accepted = rows[rows["accepted"]]
    turn = accepted.groupby("relation").cumcount()
    return accepted.iloc[turn.to_numpy().argsort(kind="stable")[:_SHOWN]]


def _warn_of_losses(rows: pd.DataFrame) -> str:
    """Name the relations of which the filters leave little."""
    share = rows.groupby("relation")["accepted"].mean()
    little = [f"{str(name).replace('_', ' ')} {100 * kept:.1f} %" for name, kept in share.items() if kept < _LITTLE]
    return f" Of some relations little is left: {', '.join(little)}." if little else ""


def _render_table(rows: pd.DataFrame) -> str:
    lines = ["| split | relation | rows | accepted | share |", "|---|---|---:|---:|---:|"]
    splits = rows.assign(split=rows.get("split", "train")).groupby(["split", "relation"])["accepted"]
    for (split, relation), size, kept in splits.agg(["size", "sum"]).itertuples():
        lines.append(f"| {split} | {_render_cell(relation)} | {size:,} | {kept:,} | {100 * kept / size:.1f} % |")
    return "\n".join(lines)


def _render_filters(rows: pd.DataFrame, floors: Mapping[str, float]) -> str:
    if not any(score in rows for score in SCORES):
        return "Not validated yet."
    lines = ["| filter | floor | let through | 5 % | median | 95 % |", "|---|---:|---:|---:|---:|---:|"]
    rejected = rows["rejected_by"].str.split(",")
    for name in (score for score in SCORES if score in rows and rows[score].notna().any()):
        passed = 1 - rejected.map(lambda names, name=name: name in names).mean()
        low, middle, high = rows[name].quantile([0.05, 0.5, 0.95])
        floor = f"{floors[name]:.2f}" if name in floors else ""
        spread = f"{low:.3f} | {middle:.3f} | {high:.3f}"
        lines.append(f"| {name.replace('_', ' ')} | {floor} | {100 * passed:.1f} % | {spread} |")
    return "\n".join(lines)


def _render_texts(accepted: pd.DataFrame) -> str:
    captions = accepted["relative_caption"]
    pictures = pd.concat([accepted[end] for end in ("reference", "target") if end in accepted] or [captions])
    words = captions.map(lambda text: len(str(text).split()))
    return (
        f"- {captions.nunique():,} different relative captions of {words.min()} to {words.max()} words, "
        f"{words.mean():.1f} on average\n- {pictures.nunique():,} different pictures"
        if len(accepted)
        else "Nothing was accepted."
    )


def _render_examples(accepted: pd.DataFrame) -> str:
    first = accepted.groupby("relation").head(2).sort_values("relation")
    columns = [
        name for name in ("relation", "reference_caption", "relative_caption", "target_caption") if name in first
    ]
    lines = [f"| {' | '.join(name.replace('_', ' ') for name in columns)} |", "|---" * len(columns) + "|"]
    lines += [
        f"| {' | '.join(_render_cell(value) for value in row)} |" for row in first[columns].itertuples(index=False)
    ]
    return "\n".join(lines)


def _render_making(made: SetDescription) -> str:
    notes = "".join(f"\n- {count:,} {name.replace('_', ' ')}" for name, count in sorted(made.notes.items()))
    return f"{made.source} (digest {made.digest[:12]})" + (f"; left out or noted:\n{notes}" if notes else "")


def _render_picture(name: str, about: str) -> str:
    return f"![{about}](plots/{name}.png)"


def _render_cell(value: Any) -> str:
    return str(value).replace("|", "\\|").replace("\n", " ").replace("_", " ")
