"""An answer with its pictures: what it is drawn from, read from the index."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from PIL import Image

from compodiff.images import PictureTable
from compodiff.index.index import Index
from compodiff.model.sampling.query import SamplerOptions
from compodiff.search.html_page import CaptionedPicture, ShownAnswer
from compodiff.search.query import PreparedQuery, Query, list_parts

if TYPE_CHECKING:
    from collections.abc import Mapping

    from compodiff.search.ranking import Hit

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
