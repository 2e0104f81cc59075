"""An answer as pictures: its query and what was found, for a page, a notebook, and a terminal."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from PIL import Image, ImageDraw, ImageFont

from compodiff.images import PictureTable
from compodiff.index.index import Index
from compodiff.model.sampling.query import SamplerOptions
from compodiff.search.html_page import CaptionedPicture, ShownAnswer
from compodiff.search.query import PreparedQuery, Query, list_parts

if TYPE_CHECKING:
    from collections.abc import Mapping

    from compodiff.search.ranking import Hit

_GAP, _LINE = 8, 14  # pixels between pictures, and of a line of text
_INK, _PAPER, _SOFT = "#16171d", "#ffffff", "#6b7080"
_MASKED, _OPACITY = (225, 29, 72), 0.55


@dataclass(frozen=True, eq=False)
class AnswerPictures:
    """What an answer is drawn from.

    Attributes:
        query: as it was asked.
        options: how it was sampled.
        pictures: of the index.
        names: of the pictures of the index that are references, by id.
    """

    query: Query
    options: SamplerOptions
    pictures: PictureTable
    names: "Mapping[str, str]"

    @classmethod
    def of(cls, prepared: PreparedQuery, index: Index, pictures: PictureTable) -> "AnswerPictures | None":
        """Gather what the answer to a query is drawn from; None where the query was not asked of this index."""
        if prepared.original is None:
            return None
        ids = [part for part in list_parts(prepared.original.reference) if isinstance(part, str)]
        names = {each: index.names[index.row[each]] for each in ids}
        return cls(prepared.original, prepared.options, pictures, names)

    def read(self, hits: "Sequence[Hit]") -> ShownAnswer:
        """Read the pictures of a query and of its hits.

        Raises:
            InputInvalid: one can no longer be read.
        """
        options = self.options
        return ShownAnswer(
            references=self._read_references(),
            relative_caption=self.query.relative_caption,
            negative_text=self.query.negative_text,
            dials=f"w_image {options.w_image:g}, w_text {options.w_text:g}, {options.num_inference_steps} steps",
            results=[(CaptionedPicture(self.pictures.read(hit.picture_id), hit.name), hit.score) for hit in hits],
        )

    def _read_references(self) -> list[CaptionedPicture]:
        """Read the references that are pictures; an embedding is none. What is masked is shown red."""
        shown = []
        for part in list_parts(self.query.reference):
            if isinstance(part, str):
                shown.append(CaptionedPicture(self._mark(self.pictures.read(part)), self.names.get(part, part)))
            elif isinstance(part, Image.Image):
                shown.append(CaptionedPicture(self._mark(part), "reference"))
        return shown

    def _mark(self, picture: Image.Image) -> Image.Image:
        mask = self.query.mask
        if not isinstance(mask, Image.Image) or mask.size != picture.size:
            return picture
        marked = Image.composite(Image.new("RGB", picture.size, _MASKED), picture.convert("RGB"), mask.convert("L"))
        return Image.blend(picture.convert("RGB"), marked, _OPACITY)


def draw_sheet(shown: ShownAnswer, columns: int, edge: int) -> Image.Image:
    """Draw the query in a row, and below it what was found in rows of `columns` pictures of `edge` pixels."""
    asked = [(each.picture, "reference") for each in shown.references]
    found = [(each.picture, f"{rank}  {score:.3f}") for rank, (each, score) in enumerate(shown.results, 1)]
    rows = [asked[at : at + columns] for at in range(0, len(asked), columns)]
    rows += [found[at : at + columns] for at in range(0, len(found), columns)]
    step, high = edge + _GAP, edge + _LINE + _GAP
    head = _LINE + _GAP if shown.relative_caption else 0
    sheet = Image.new("RGB", (columns * step + _GAP, head + len(rows) * high + _GAP), _PAPER)
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(_LINE - 2)
    if head:
        pen.text((_GAP, _GAP / 2), shown.relative_caption, _INK, font)
    for down, row in enumerate(rows):
        for across, (picture, caption) in enumerate(row):
            left, top = _GAP + across * step, head + _GAP + down * high
            _paste(sheet, picture, (left, top), edge)
            pen.text((left, top + edge), caption, _SOFT, font)
    return sheet


def _paste(sheet: Image.Image, picture: Image.Image, corner: tuple[int, int], edge: int) -> None:
    """Paste a picture into the middle of a square; what is clear shows the sheet."""
    small = picture.convert("RGBA")
    scale = edge / max(small.size)
    small = small.resize((max(1, round(small.width * scale)), max(1, round(small.height * scale))))
    place = corner[0] + (edge - small.width) // 2, corner[1] + (edge - small.height) // 2
    sheet.paste(small, place, small)
