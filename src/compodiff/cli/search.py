"""`compodiff search`: a picture and a change find the picture you mean.

compodiff search --reference 👩‍🔬 --text "with dark skin"
compodiff search --index ~/Pictures --reference cat.jpg --text "in the snow" --html answer.html
"""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from compodiff.cli.options import Model, Rerank, RerankTop, Seed, Steps, WImage, WText, make_dial_option, open_reranking
from compodiff.cli.output import Column, echo, print_files, print_table, show_work
from compodiff.cli.served_search import ask_running_server, can_draw
from compodiff.cli.terminal_pictures import EDGE, Protocol, count_columns, find_protocol, print_picture
from compodiff.errors import InputInvalid
from compodiff.project import ATTRIBUTION
from compodiff.search.located import locate_search

if TYPE_CHECKING:
    from compodiff.search.html_page import ShownAnswer
    from compodiff.search.query import PreparedQuery, Query, Reference
    from compodiff.search.ranking import Ranking
    from compodiff.search.searcher import Searcher

References = Annotated[
    list[str] | None,
    typer.Option("--reference", help="A picture file, an id of the index, or an emoji; the mean of several."),
]
Weights = Annotated[list[float] | None, typer.Option("--weight", help="How much a reference counts; once for each.")]
Text = Annotated[str, typer.Option(help="What is to be different.")]
Negative = Annotated[str, typer.Option(help="What the answer should not be like.")]
Mask = Annotated[Path | None, typer.Option(help="PNG of the reference's shape, white where to replace.")]
Filter = Annotated[str, typer.Option("--filter", help='A condition on the metadata, as in SQL: "width > 800".')]
Exclude = Annotated[list[str] | None, typer.Option(help="Id of a picture not to be found; repeatable.")]
ModeName = Annotated[str, typer.Option(help="composed, or image or text: by that embedding alone, without the model.")]
WNames = Annotated[float, make_dial_option("w_names")]
Subtract = Annotated[str, typer.Option(help="A text whose direction is taken off the answer.")]
SubtractWeight = Annotated[float, make_dial_option("subtract_weight")]
Draws = Annotated[int | None, make_dial_option("draws")]
Mixing = Annotated[float | None, make_dial_option("reference_mixing", "--mixing")]
Count = Annotated[int, make_dial_option("k", "-k")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object instead of a table.")]
Html = Annotated[Path | None, typer.Option(help="Also write the answer as a page of its own.")]
NoServer = Annotated[bool, typer.Option("--no-server", help="Answer here, even if a server has the same open.")]
Verbose = Annotated[bool, typer.Option("--verbose", help="Say on stderr who answered.")]
Print0 = Annotated[bool, typer.Option("--print0", help="Only the found files, a NUL after each, as `xargs -0` reads.")]
OpenPage = Annotated[bool, typer.Option("--open", help="Also open the answer as a page in the browser.")]
Pictures = Annotated[
    str,
    typer.Option(help="Pictures below the table: auto (where the terminal can), never, or how: kitty, iterm, sixel."),
]
IndexFolder = Annotated[Path | None, typer.Option(help="A folder after `compodiff index build`. Default: the model's.")]

app = typer.Typer()


@dataclass(frozen=True)
class _Answer:
    searcher: "Searcher"
    query: "Query"
    prepared: "PreparedQuery"
    ranking: "Ranking"
    seconds: dict[str, float]


@dataclass(frozen=True)
class _Shown:
    """How an answer is shown besides its table: as a page, and as pictures in the terminal."""

    html: Path | None
    protocol: Protocol | None
    is_opened: bool
    is_asked_for: bool
    attribution: str

    @property
    def needs_pictures(self) -> bool:
        return self.is_opened or self.html is not None or self.protocol is not None

    def show(self, read: "Callable[[], ShownAnswer]") -> None:
        """Write and draw what `read` returns; a drawing that nobody asked for and that cannot be is only named."""
        from compodiff.errors import InputInvalid

        if not self.needs_pictures:
            return
        try:
            shown = read()
        except InputInvalid as error:
            if self.is_asked_for or self.is_opened or self.html is not None:
                raise
            echo(f"note: not drawn: {error}", err=True)
            return
        if self.is_opened or self.html is not None:
            _write_page(self.html, shown, self.attribution, is_opened=self.is_opened)
        if self.protocol and shown.results:
            from compodiff.search.sheet import draw_sheet

            print_picture(draw_sheet(shown, count_columns(EDGE), EDGE), self.protocol)


def _write_page(html: Path | None, shown: "ShownAnswer", attribution: str, *, is_opened: bool) -> None:
    """Write the answer as a page; one that is only opened goes to the folder of temporary files."""
    import tempfile
    import webbrowser

    from compodiff.search.html_page import write_result_page

    path = html or Path(tempfile.mkdtemp(prefix="compodiff-")) / "answer.html"
    write_result_page(path, shown, attribution)
    if is_opened and not webbrowser.open(path.resolve().as_uri()):
        echo(f"no browser is found here; the page is {path}", err=True)


@app.command("search")
def search(
    *,
    reference: References = None,
    weight: Weights = None,
    text: Text = "",
    negative: Negative = "",
    mask: Mask = None,
    where: Filter = "",
    exclude: Exclude = None,
    mode: ModeName = "composed",
    subtract: Subtract = "",
    subtract_weight: SubtractWeight = 0.5,
    w_image: WImage = None,
    w_text: WText = None,
    w_names: WNames = 1.0,
    steps: Steps = None,
    draws: Draws = None,
    mixing: Mixing = None,
    seed: Seed = None,
    k: Count = 10,
    as_json: AsJson = False,
    print0: Print0 = False,
    html: Html = None,
    open_page: OpenPage = False,
    pictures: Pictures = "auto",
    index: IndexFolder = None,
    model: Model = None,
    rerank: Rerank = None,
    rerank_top: RerankTop = 10,
    no_server: NoServer = False,
    verbose: Verbose = False,
) -> None:
    """Find pictures like REFERENCE, but TEXT."""
    from compodiff.storage.ownership import PAGE, require_replaceable_file

    if as_json and print0:
        raise InputInvalid("--json and --print0 are two forms of one answer; give one")
    require_replaceable_file(html, PAGE)
    protocol = find_protocol(pictures) if not (as_json or print0) else None
    dials = {"w_image": w_image, "w_text": w_text, "num_inference_steps": steps, "draws": draws}
    dials |= {"reference_mixing": mixing, "seed": seed, "k": k, "w_names": w_names, "subtract_weight": subtract_weight}
    asked: dict[str, Any] = {"relative_caption": text, "negative_text": negative, "subtract": subtract, **dials}
    asked |= {"mode": mode, "exclude": tuple(exclude or ()), "where": where.strip()}
    references = reference or [], weight or [], mask
    named = reference[0] if reference and len(reference) == 1 else reference
    chosen = locate_search(model, index).chosen.name
    given = {"reference": named, "weight": weight, "mask": mask, "model": chosen}
    shown = _Shown(
        html, protocol, is_opened=open_page, is_asked_for=pictures != "auto", attribution="" if index else ATTRIBUTION
    )
    may_ask = rerank is None and not no_server and (not shown.needs_pictures or can_draw(references))
    if may_ask and (served := ask_running_server(model, index, references, asked)):
        if verbose:
            echo(f"answered by the server at {served.record.address}", err=True)
        if print0:
            _print_files(served.files)
        else:
            content = served.describe(given, asked) if as_json else None
            _print_answer(served.reply["notes"], served.rows, content)
        shown.show(lambda: served.read_pictures(references[0]))
        return
    with show_work("opening the model and the index", is_quiet=as_json):
        answer = _answer(lambda: _open(model, index, rerank, rerank_top), references, asked)
    if verbose:
        echo(f"answered here, in {sum(answer.seconds.values()):.1f} s", err=True)
    hits = answer.ranking.hits
    if print0:
        _print_files([(hit.picture_id, hit.path) for hit in hits])
    else:
        rows = [(it.rank, it.score, it.name, it.picture_id) for it in hits]
        _print_answer(answer.ranking.notes, rows, _describe(answer, given) if as_json else None)
    shown.show(answer.ranking.read_pictures)


def _print_answer(
    notes: Sequence[str], rows: Sequence[tuple[int, float, str, str]], content: Mapping[str, Any] | None
) -> None:
    """Print an answer: as `content` where it is given, else its rows of rank, score, name and id."""
    for note in notes:
        echo(f"note: {note}", err=True)
    if content is not None:
        # A name that is not UTF-8: as JSON escapes it.
        typer.echo(json.dumps(content, ensure_ascii=False, default=str).encode(errors="backslashreplace"))
        return
    columns: list[Column] = [(name, "left") for name in ("#", "score", "picture", "id")]
    shown: list[tuple[str, ...]] = [
        (str(rank), f"{score:.3f}", name, "" if name == id_ else id_) for rank, score, name, id_ in rows
    ]
    if not any(row[-1] for row in shown):  # the pictures of a folder are named by their ids
        columns.pop()
        shown = [row[:-1] for row in shown]
    print_table(columns, shown, has_lines=False)


def _open(model: str | None, index: Path | None, rerank: str | None, rerank_top: int) -> "Searcher":
    from compodiff.search.searcher import Searcher

    reranking = open_reranking(rerank, rerank_top)
    return Searcher.load(model, index=index, reranking=reranking)


def _answer(
    load: Callable[[], "Searcher"], given: tuple[Sequence[str], Sequence[float], Path | None], asked: dict[str, Any]
) -> _Answer:
    """Open model and index, and answer one query; `given` are its references, their weights and the mask."""
    from compodiff.images import read_picture
    from compodiff.search.progress import PhaseTimer
    from compodiff.search.query import Query, find_mode

    started = time.perf_counter()
    asked = {**asked, "mode": find_mode(asked["mode"])}
    searcher = load()
    references, weights, mask = given
    reference = _join(searcher, references, weights)
    query = Query(reference, mask=None if mask is None else read_picture(mask), **asked)
    loaded = time.perf_counter()
    prepared = searcher.prepare(query)
    (ranking,) = searcher.answer_all([prepared], PhaseTimer())
    seconds = {"load": round(loaded - started, 4), "search": round(time.perf_counter() - loaded, 4)}
    return _Answer(searcher, query, prepared, ranking, seconds)


def _join(searcher: "Searcher", names: Sequence[str], weights: Sequence[float]) -> "Reference":
    """Return what the names stand for, as one reference."""
    from compodiff.search.query import join_parts, list_parts

    if weights and len(weights) != len(names):
        raise InputInvalid(f"{len(names)} --reference and {len(weights)} --weight; give one weight each, or none")
    return join_parts(list_parts(searcher.find(names or None)), weights)


def _describe(answer: _Answer, given: Mapping[str, object]) -> dict[str, Any]:
    """Return the query with every dial that it was answered with, and the answer."""
    query, options, searcher = answer.prepared.asked, answer.prepared.options, answer.searcher
    dials = {
        "subtract_weight": query.subtract_weight,
        "w_image": options.w_image,
        "w_text": options.w_text,
        "steps": options.num_inference_steps,
        "draws": options.draws,
        "mixing": options.reference_mixing if query.mask is None else options.masked_reference_mixing,
        "seed": searcher.composer.sampling.seed if query.seed is None else query.seed,
        "k": query.k,
        "w_names": query.w_names,
    }
    said: dict[str, object] = {"text": query.relative_caption, "negative": query.negative_text, "filter": query.where}
    said |= {"exclude": list(query.exclude), "mode": query.mode, "subtract": query.subtract}
    hits = [{**vars(hit), "file": str(hit.path)} for hit in answer.ranking]
    return {
        "query": {**given, **said, **dials},
        "index": str(searcher.index.folder.resolve()),
        "results": [{key: value for key, value in hit.items() if key != "path"} for hit in hits],
        "is_guess": answer.ranking.is_guess,
        "notes": list(answer.ranking.notes),
        "seconds": answer.seconds,
        "served_by": None,
    }


def _print_files(found: Sequence[tuple[str, Path]]) -> None:
    for picture_id, path in found:
        if path.suffix == ".tar":
            raise InputInvalid(f"{picture_id} lies inside {path}; --print0 needs the index of a folder of files")
        if path.is_dir():
            raise InputInvalid(f"the index does not say where {picture_id} lies; --print0 needs its table's path")
    print_files(path for _, path in found)
