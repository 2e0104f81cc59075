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

from compodiff.cli.output import Column, echo, print_table
from compodiff.search.locate import ATTRIBUTION, CHAMPION

if TYPE_CHECKING:
    from compodiff.search.composer import ComposedQuery
    from compodiff.search.engine import Answer, Hit, Searcher


def register(app: typer.Typer) -> None:
    """Add this module's commands to `app`."""
    app.command("search")(search)


def search(
    *,
    reference: Annotated[str | None, typer.Option(help="A picture file, an id of the index, or an emoji.")] = None,
    text: Annotated[str, typer.Option(help="What is to be different.")] = "",
    negative: Annotated[str, typer.Option(help="What the answer should not be like.")] = "",
    mask: Annotated[Path | None, typer.Option(help="PNG of the reference's shape, white where to replace.")] = None,
    w_image: Annotated[float | None, typer.Option(help="How much the reference counts. Default: the model's.")] = None,
    w_text: Annotated[float | None, typer.Option(help="How much the text counts. Default: the model's.")] = None,
    steps: Annotated[int | None, typer.Option(help="Network calls. Default: the model's.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of the noise. Default: the model's.")] = None,
    k: Annotated[int, typer.Option("-k", help="How many pictures.")] = 10,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object instead of a table.")] = False,
    html: Annotated[Path | None, typer.Option(help="Also write the answer as a page of its own.")] = None,
    index: Annotated[Path | None, typer.Option(help="A folder after `compodiff index build`. Default: emoji.")] = None,
    model: Annotated[str, typer.Option(help="An alias, or a folder with composed/ and encoder/.")] = CHAMPION,
) -> None:
    """Find pictures like REFERENCE, but TEXT."""
    from compodiff.images import read_picture
    from compodiff.search.composer import ComposedQuery
    from compodiff.search.progress import Watch
    from compodiff.search.searcher import named_reference, open_searcher
    from compodiff.storage.ownership import PAGE, require_replaceable_file

    started = time.perf_counter()
    require_replaceable_file(html, PAGE)
    searcher = open_searcher(model, index)
    query = ComposedQuery(
        reference=None if reference is None else named_reference(reference, searcher.index),
        relative_caption=text,
        negative_text=negative,
        mask=None if mask is None else read_picture(mask),
        w_image=w_image,
        w_text=w_text,
        num_inference_steps=steps,
        seed=seed,
        k=k,
    )
    loaded = time.perf_counter()
    (answer,) = searcher.answer_all([searcher.prepared(query)], Watch())
    answered = time.perf_counter()
    if html is not None:
        _write_page(html, searcher, query, answer.hits, attribution="" if index else ATTRIBUTION)
    seconds = {"load": round(loaded - started, 4), "search": round(answered - loaded, 4)}
    asked = {"reference": reference, "mask": None if mask is None else str(mask), "model": model}
    _print_answer(answer, _described(searcher, query, answer, asked) | {"seconds": seconds} if as_json else None)


def _print_answer(answer: "Answer", described: dict[str, Any] | None) -> None:
    """Print the notes on stderr, and the answer as a table or as it is `described`."""
    for note in answer.notes:
        echo(f"note: {note}", err=True)
    if described is None:
        _print_table(answer.hits)
    else:
        typer.echo(json.dumps(described, ensure_ascii=False))


def _described(searcher: "Searcher", query: "ComposedQuery", answer: "Answer", asked: dict[str, Any]) -> dict[str, Any]:
    options = searcher.composer.options(query)
    return {
        "query": {
            **asked,
            "text": query.relative_caption,
            "negative": query.negative_text,
            "w_image": options.w_image,
            "w_text": options.w_text,
            "steps": options.num_inference_steps,
            "seed": searcher.composer.sampling.seed if query.seed is None else query.seed,
            "k": query.k,
        },
        "index": str(searcher.index.folder),
        "results": [
            {"rank": rank, **vars(hit), "file": str(searcher.pictures.path(hit.picture_id))}
            for rank, hit in enumerate(answer.hits, 1)
        ],
        "notes": list(answer.notes),
    }


def _print_table(hits: Sequence["Hit"]) -> None:
    rows = [
        (str(rank), f"{hit.score:.3f}", hit.name, "" if hit.name == hit.picture_id else hit.picture_id)
        for rank, hit in enumerate(hits, 1)
    ]
    columns: list[Column] = [(name, "left") for name in ("#", "score", "picture", "id")]
    print_table(columns, rows, has_lines=False)


def _write_page(
    path: Path, searcher: "Searcher", query: "ComposedQuery", hits: Sequence["Hit"], *, attribution: str
) -> None:
    from PIL import Image

    from compodiff.search.html_page import Shown, result_page
    from compodiff.storage.atomic import atomic_path
    from compodiff.storage.ownership import PAGE

    shown = None
    if isinstance(query.reference, str):
        name = searcher.index.pictures["name"].iloc[searcher.index.row[query.reference]]
        shown = Shown(searcher.pictures.read(query.reference), str(name))
    elif isinstance(query.reference, Image.Image):
        shown = Shown(query.reference, "reference")
    options = searcher.composer.options(query)
    page = result_page(
        reference=shown,
        relative_caption=query.relative_caption,
        negative_text=query.negative_text,
        dials=f"w_image {options.w_image:g}, w_text {options.w_text:g}, {options.num_inference_steps} steps",
        results=[(Shown(searcher.pictures.read(hit.picture_id), hit.name), hit.score) for hit in hits],
        attribution=attribution,
    )
    with atomic_path(path, PAGE) as temporary:
        temporary.write_text(page, encoding="utf-8")
