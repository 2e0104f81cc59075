"""Options that several commands have; those of a query's numbers are made from the one table of them."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from compodiff.dials import DIALS

if TYPE_CHECKING:
    from compodiff.encoders.reranking import Reranking


def make_dial_option(name: str, *flags: str) -> Any:
    """Return the option of a dial, under `flags` or its short name: what it means, its range and its default."""
    dial = DIALS[name]
    default = "" if dial.default is not None else " Default: the model's."
    own = flags or (f"--{(dial.option or dial.name).replace('_', '-')}",)
    return typer.Option(*own, help=f"{dial.help[0].upper()}{dial.help[1:]}, {dial.range}.{default}")


def open_reranking(model: str | None, top: int) -> "Reranking | None":
    """Open the reranker that --rerank names.

    Raises:
        CompoDiffError: it is not there, cannot be read, or reads no pictures.
    """
    if model is None:
        return None
    from compodiff.encoders.reranking import CrossEncoderReranker, Reranking
    from compodiff.encoders.sources import find_folder

    return Reranking(CrossEncoderReranker(find_folder(model)), top, model)


Model = Annotated[
    str | None,
    typer.Option(
        help="An alias, a folder with composed/ and encoder/, a name of `get`, or installed: of this release. "
        "Default: the one that made the index, else the project's champion, else installed.",
        show_default=False,
    ),
]
Rerank = Annotated[
    str | None, typer.Option(help="A cross-encoder that reads pictures: its folder, or what `get` fetched.")
]
RerankTop = Annotated[int, typer.Option(min=1, help="Pictures of each ranking that it looks at.")]
WImage = Annotated[float | None, make_dial_option("w_image")]
WText = Annotated[float | None, make_dial_option("w_text")]
Steps = Annotated[int | None, make_dial_option("num_inference_steps")]
Seed = Annotated[int | None, make_dial_option("seed")]
