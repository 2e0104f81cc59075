"""A search as it is sent, checked, and made a query."""

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from fastapi import UploadFile
from numpy.typing import NDArray
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from compodiff.dials import DIALS
from compodiff.errors import InputInvalid
from compodiff.images import decode
from compodiff.images.mask_cells import MASK_SIZE
from compodiff.index.index import Index
from compodiff.search.naming import find_by_bytes, find_known_id
from compodiff.search.query import Mode, Query, Reference, ReferencePart, join_parts
from compodiff.serving.limits import (
    MASK_CELLS,
    MAX_EMBEDDING,
    MAX_EXCLUDED,
    MAX_FILTER,
    MAX_REFERENCES,
    MAX_TEXT,
)

Id = Annotated[str, StringConstraints(max_length=4096)]
Base64 = Annotated[str, StringConstraints(max_length=MAX_EMBEDDING)]
_OF_ADDRESSES = bytes.maketrans(b"+/", b"-_")
Weight = Annotated[float, Field(ge=0, le=DIALS["w_image"].most_served, allow_inf_nan=False)]


def _make_dial_field(name: str) -> Any:
    """Return the field of a dial: its range for one request, its default and what it means."""
    dial = DIALS[name]
    said = dial.help if dial.default is not None else f"{dial.help}; the model's if left out"
    finite = None if dial.type is int else False
    most = min(dial.most, dial.most_served)
    return Field(default=dial.default, ge=dial.least, le=most, description=said, allow_inf_nan=finite)


def _remove_null(schema: dict[str, Any]) -> None:
    """Give a field that may be left out one type, as a form has no null."""
    for field in schema["properties"].values():
        if "anyOf" in field:
            field.update(next(kind for kind in field.pop("anyOf") if kind != {"type": "null"}))


class SearchFields(BaseModel):
    """The fields of a search but its pictures."""

    model_config = ConfigDict(extra="forbid", json_schema_extra=_remove_null)

    reference_id: list[Id] = Field(
        default=[],
        max_length=MAX_REFERENCES,
        description="ids of pictures of the index, or emoji of the default gallery",
        examples=[["twemoji-1F436"], ["\N{DOG FACE}"]],
    )
    reference_embedding: list[Base64] = Field(
        default=[], max_length=MAX_REFERENCES, description="`embedding` or `reference_embedding` of an earlier answer"
    )
    exclude: list[Id] = Field(
        default=[], max_length=MAX_EXCLUDED, description="ids that must not be found; a reference by id never is"
    )
    more: list[Id] = Field(default=[], max_length=MAX_EXCLUDED, description="ids: the answer is more like these")
    less: list[Id] = Field(default=[], max_length=MAX_EXCLUDED, description="ids: the answer is less like these")
    weight: list[Weight] = Field(
        default=[],
        max_length=3 * MAX_REFERENCES,
        description="one a reference (uploads, ids, embeddings), where there are several; equal if left out",
    )
    text: str = Field(default="", max_length=MAX_TEXT, description="what is to be different", examples=["make it blue"])
    negative: str = Field(default="", max_length=MAX_TEXT, description="what the answer should not be like")
    subtract: str = Field(default="", max_length=MAX_TEXT, description="a text whose direction is taken off the answer")
    subtract_weight: float = _make_dial_field("subtract_weight")
    mask_cells: Base64 | None = Field(default=None, description="`mask_cells` of an earlier answer, instead of `mask`")
    w_image: float | None = _make_dial_field("w_image")
    w_text: float | None = _make_dial_field("w_text")
    steps: int | None = _make_dial_field("num_inference_steps")
    draws: int | None = _make_dial_field("draws")
    reference_mixing: float | None = _make_dial_field("reference_mixing")
    seed: int | None = _make_dial_field("seed")
    k: int = _make_dial_field("k")
    filter: str = Field(
        default="",
        max_length=MAX_FILTER,
        description="a condition on the metadata, as in SQL; GET /model lists the columns",
        examples=["name like '%twemoji%'"],
    )
    w_names: float = _make_dial_field("w_names")
    mode: Mode = Field(default="composed", description="image and text search by one embedding, without the model")
    embedding: bool = Field(default=False, description="whether the answer is to have embeddings, 2.7 kB each")


class SearchForm(SearchFields):
    """The fields of `POST /search`."""

    reference: list[UploadFile] = Field(default=[], max_length=MAX_REFERENCES, description="pictures, uploaded")
    mask: UploadFile | None = Field(default=None, description="of the reference's shape, white where to replace")

    def name_emoji(self, index: Index) -> "SearchForm":
        """Return the same with the ids that its emoji stand for; what is neither stays as it is."""
        lists = {name: getattr(self, name) for name in ("reference_id", "more", "less")}
        ids = {name: [find_known_id(each, index) or each for each in named] for name, named in lists.items()}
        return self.model_copy(update=ids)


@dataclass(frozen=True)
class Uploads:
    """The files of a form, read."""

    references: Sequence[bytes]
    mask: bytes | None

    @classmethod
    async def of(cls, form: SearchForm) -> "Uploads":
        """Read them; the size of the whole body has been checked before."""
        references = [await upload.read() for upload in form.reference]
        return cls(references, None if form.mask is None else await form.mask.read())


def name_known(form: SearchForm, uploads: Uploads, index: Index) -> tuple[SearchForm, Uploads]:
    """Return form and uploads with ids for emoji, and for uploads that have the bytes of a picture of the index.

    Weights stay with their references.
    """
    form = form.name_emoji(index)
    known = [find_by_bytes(content, index) for content in uploads.references]
    if not any(known):
        return form, uploads
    weights = form.weight
    if len(weights) == len(known) + len(form.reference_id) + len(form.reference_embedding):
        first = weights[: len(known)]
        weights = [weight for weight, each in zip(first, known, strict=True) if each is None]
        weights += [weight for weight, each in zip(first, known, strict=True) if each is not None]
        weights += form.weight[len(known) :]
    ids = [*(each for each in known if each is not None), *form.reference_id]
    kept = [place for place, each in enumerate(known) if each is None]
    left = {"reference": [form.reference[place] for place in kept], "reference_id": ids}
    contents = [uploads.references[place] for place in kept]
    return form.model_copy(update={**left, "weight": weights}), Uploads(contents, uploads.mask)


def make_query(form: SearchForm, uploads: Uploads, max_pixels: int) -> Query:
    """Return the query that a form asks for. Decodes pictures, so keep it off the event loop.

    Raises:
        InputInvalid: an upload is no picture or too large, base64 is none, or parts contradict each other.
    """
    dials: dict[str, Any] = {name: getattr(form, dial.option or name) for name, dial in DIALS.items()}
    return Query(
        reference=_read_reference(form, uploads, max_pixels),
        relative_caption=form.text,
        negative_text=form.negative,
        mask=_read_mask(form, uploads, max_pixels),
        mode=form.mode,
        subtract=form.subtract,
        exclude=tuple(form.exclude),
        more=tuple(form.more),
        less=tuple(form.less),
        where=form.filter.strip(),
        **dials,
    )


def encode_embedding(embedding: NDArray[np.float32]) -> str:
    """Write (D,) as base64 of little-endian float32, fit for an address."""
    return base64.urlsafe_b64encode(embedding.astype("<f4").tobytes()).decode()


def encode_cells(cells: NDArray[np.bool_]) -> str:
    """Write (64, 64) as base64 of its bits, row by row, fit for an address."""
    return base64.urlsafe_b64encode(np.packbits(cells).tobytes()).decode()


def _read_reference(form: SearchForm, uploads: Uploads, max_pixels: int) -> Reference:
    parts: list[ReferencePart] = [
        *(_read_picture(content, "the reference", max_pixels) for content in uploads.references),
        *form.reference_id,
        *(_read_embedding(given) for given in form.reference_embedding),
    ]
    if form.weight and len(form.weight) != len(parts):
        raise InputInvalid(f"{len(parts)} references and {len(form.weight)} weights; give one weight each, or none")
    return join_parts(parts, form.weight)


def _read_mask(form: SearchForm, uploads: Uploads, max_pixels: int) -> Image.Image | NDArray[np.bool_] | None:
    if uploads.mask is not None and form.mask_cells:
        raise InputInvalid("a query has both mask and mask_cells; give one")
    if uploads.mask is not None:
        return _read_picture(uploads.mask, "the mask", max_pixels)
    if not form.mask_cells:
        return None
    bits = decode_base64(form.mask_cells, "mask_cells")
    if len(bits) != MASK_CELLS:
        raise InputInvalid(f"mask_cells has {len(bits)} bytes; {MASK_SIZE} x {MASK_SIZE} bits are {MASK_CELLS}")
    return np.unpackbits(np.frombuffer(bits, np.uint8)).reshape(MASK_SIZE, MASK_SIZE).astype(np.bool_)


def _read_picture(content: bytes, what: str, max_pixels: int) -> Image.Image:
    if not content:
        raise InputInvalid(f"{what} is an empty file")
    try:
        return decode(content, max_pixels)
    except InputInvalid as error:
        raise InputInvalid(f"{what}: {error}") from error


def _read_embedding(given: str) -> NDArray[np.float32]:
    content = decode_base64(given, "reference_embedding")
    if not content or len(content) % 4:
        raise InputInvalid(f"reference_embedding has {len(content)} bytes, which are no float32 numbers")
    return np.frombuffer(content, "<f4").astype(np.float32)


def decode_base64(given: str, what: str) -> bytes:
    """Read base64 with - and _, as in addresses, or with + and /.

    Raises:
        InputInvalid: it is none.
    """
    try:
        return base64.b64decode(given.encode("ascii").translate(_OF_ADDRESSES), altchars=b"-_", validate=True)
    except (binascii.Error, UnicodeEncodeError) as error:
        raise InputInvalid(f"{what} is no base64 ({error}); give it whole") from error
