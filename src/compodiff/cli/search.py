"""`compodiff search`: a picture and a change find the picture you mean.

compodiff search --reference 👩‍🔬 --text "with dark skin"
compodiff search --index ~/Pictures --reference cat.jpg --text "in the snow" --html answer.html
"""

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from compodiff.cli.dials import make_dial_option
from compodiff.cli.output import Column, echo, print_table
from compodiff.project import ATTRIBUTION
from compodiff.search.locate import CHAMPION

if TYPE_CHECKING:
    from compodiff.search.query import Mode, PreparedQuery, Reference
    from compodiff.search.ranking import Hit, Ranking
    from compodiff.search.searcher import Searcher


def register(app: typer.Typer) -> None:
    """Add this module's commands to `app`."""
    app.command("search")(search)


def search(
    *,
    reference: Annotated[
        list[str] | None,
        typer.Option(help="A picture file, an id of the index, or an emoji; several are searched for as their mean."),
    ] = None,
    weight: Annotated[
        list[float] | None, typer.Option(help="How much a reference counts among several; once for each.")
    ] = None,
    text: Annotated[str, typer.Option(help="What is to be different.")] = "",
    negative: Annotated[str, typer.Option(help="What the answer should not be like.")] = "",
    mask: Annotated[Path | None, typer.Option(help="PNG of the reference's shape, white where to replace.")] = None,
    where: Annotated[
        str, typer.Option("--filter", help='A condition on the pictures\' metadata, as in SQL: "width > 800".')
    ] = "",
    exclude: Annotated[list[str] | None, typer.Option(help="Id of a picture not to be found; repeatable.")] = None,
    mode: Annotated[
        str, typer.Option(help="composed, or image or text: by that one embedding alone, without the model.")
    ] = "composed",
    subtract: Annotated[str, typer.Option(help="A text whose direction is taken off the answer.")] = "",
    subtract_weight: Annotated[float, make_dial_option("subtract_weight")] = 0.5,
    w_image: Annotated[float | None, make_dial_option("w_image")] = None,
    w_text: Annotated[float | None, make_dial_option("w_text")] = None,
    steps: Annotated[int | None, make_dial_option("num_inference_steps")] = None,
    draws: Annotated[int | None, make_dial_option("draws")] = None,
    mixing: Annotated[float | None, make_dial_option("reference_mixing", "--mixing")] = None,
    seed: Annotated[int | None, make_dial_option("seed")] = None,
    k: Annotated[int, make_dial_option("k", "-k")] = 10,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object instead of a table.")] = False,
    html: Annotated[Path | None, typer.Option(help="Also write the answer as a page of its own.")] = None,
    index: Annotated[Path | None, typer.Option(help="A folder after `compodiff index build`. Default: emoji.")] = None,
    model: Annotated[str, typer.Option(help="An alias, or a folder with composed/ and encoder/.")] = CHAMPION,
) -> None:
    """Find pictures like REFERENCE, but TEXT."""
    from compodiff.images import read_picture
    from compodiff.search.progress import PhaseTimer
    from compodiff.search.query import Query, find_mode
    from compodiff.search.searcher import Searcher
    from compodiff.storage.ownership import PAGE, require_replaceable_file

    started = time.perf_counter()
    require_replaceable_file(html, PAGE)
    known: Mode = find_mode(mode)
    searcher = Searcher.load(model, index=index)
    query = Query(
        reference=_join(searcher, reference or [], weight or []),
        relative_caption=text,
        negative_text=negative,
        mask=None if mask is None else read_picture(mask),
        w_image=w_image,
        w_text=w_text,
        num_inference_steps=steps,
        draws=draws,
        reference_mixing=mixing,
        seed=seed,
        k=k,
        mode=known,
        subtract=subtract,
        subtract_weight=subtract_weight,
        exclude=tuple(exclude or ()),
        where=where.strip(),
    )
    loaded = time.perf_counter()
    prepared = searcher.prepare(query)
    (ranking,) = searcher.answer_all([prepared], PhaseTimer())
    answered = time.perf_counter()
    if html is not None:
        _write_page(html, searcher, query.reference, prepared, ranking, attribution="" if index else ATTRIBUTION)
    for note in ranking.notes:
        echo(f"note: {note}", err=True)
    if not as_json:
        _print_table(ranking.hits)
        return
    seconds = {"load": round(loaded - started, 4), "search": round(answered - loaded, 4)}
    asked: dict[str, Any] = {"reference": reference[0] if reference and len(reference) == 1 else reference}
    asked |= {"weight": weight, "mask": None if mask is None else str(mask), "model": model}
    described = _describe(searcher, prepared, ranking, asked) | {"seconds": seconds}
    typer.echo(json.dumps(described, ensure_ascii=False))


def _join(searcher: "Searcher", names: Sequence[str], weights: Sequence[float]) -> "Reference":
    """Return what the names stand for, as one reference."""
    from compodiff.errors import InputInvalid
    from compodiff.search.query import Blend

    if weights and len(weights) != len(names):
        raise InputInvalid(f"{len(names)} --reference and {len(weights)} --weight; give one weight each, or none")
    found = searcher.find(names) if len(names) > 1 else searcher.find(names[0] if names else None)
    return Blend(found.parts, tuple(weights)) if isinstance(found, Blend) and weights else found


def _describe(
    searcher: "Searcher", prepared: "PreparedQuery", ranking: "Ranking", asked: dict[str, Any]
) -> dict[str, Any]:
    query, options = prepared.asked, prepared.options
    mixing = options.reference_mixing if query.mask is None else options.masked_reference_mixing
    return {
        "query": {
            **asked,
            "text": query.relative_caption,
            "negative": query.negative_text,
            "filter": query.where,
            "exclude": list(query.exclude),
            "mode": query.mode,
            "subtract": query.subtract,
            "subtract_weight": query.subtract_weight,
            "w_image": options.w_image,
            "w_text": options.w_text,
            "steps": options.num_inference_steps,
            "draws": options.draws,
            "mixing": mixing,
            "seed": searcher.composer.sampling.seed if query.seed is None else query.seed,
            "k": query.k,
        },
        "index": str(searcher.index.folder),
        "results": [
            {key: value for key, value in vars(hit).items() if key != "path"} | {"file": str(hit.path)}
            for hit in ranking
        ],
        "notes": list(ranking.notes),
    }


def _print_table(hits: Sequence["Hit"]) -> None:
    rows = [
        (str(hit.rank), f"{hit.score:.3f}", hit.name, "" if hit.name == hit.picture_id else hit.picture_id)
        for hit in hits
    ]
    columns: list[Column] = [(name, "left") for name in ("#", "score", "picture", "id")]
    print_table(columns, rows, has_lines=False)


def _write_page(
    path: Path,
    searcher: "Searcher",
    reference: "Reference",
    prepared: "PreparedQuery",
    ranking: "Ranking",
    *,
    attribution: str,
) -> None:
    from PIL import Image

    from compodiff.search.html_page import CaptionedPicture, render_result_page
    from compodiff.search.query import list_parts
    from compodiff.storage.atomic import replace_path
    from compodiff.storage.ownership import PAGE

    shown = []
    for part in list_parts(reference):
        if isinstance(part, str):
            name = searcher.index.pictures["name"].iloc[searcher.index.row[part]]
            shown.append(CaptionedPicture(searcher.pictures.read(part), str(name)))
        elif isinstance(part, Image.Image):
            shown.append(CaptionedPicture(part, "reference"))
    query, options = prepared.asked, prepared.options
    page = render_result_page(
        references=shown,
        relative_caption=query.relative_caption,
        negative_text=query.negative_text,
        dials=f"w_image {options.w_image:g}, w_text {options.w_text:g}, {options.num_inference_steps} steps",
        results=[(CaptionedPicture(searcher.pictures.read(hit.picture_id), hit.name), hit.score) for hit in ranking],
        attribution=attribution,
    )
    with replace_path(path, PAGE) as temporary:
        temporary.write_text(page, encoding="utf-8")
