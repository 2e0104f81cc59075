"""A row as it was read becomes rows of a set: its pictures are places, its mask bits, its captions texts."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from random import Random
from typing import Any

import numpy as np

from compodiff.errors import InputInvalid
from compodiff.images import decode
from compodiff.images.mask_cells import find_box_cells, find_mask_cells
from compodiff.interchange.faults import (
    BAD_MASK,
    EMPTY_TEXT,
    MISSING_PICTURE,
    MISSING_ROLE,
    REPEATED_KEY,
    SAME_CAPTIONS,
    Fault,
)
from compodiff.interchange.pictures import (
    Inline,
    Picture,
    PictureRoot,
    read_content,
    read_picture_size,
    require_utf8,
    take_picture,
)
from compodiff.interchange.records import Chosen, RawRow, RoleFinder
from compodiff.interchange.splits import TEST, split_of_row
from compodiff.interchange.texts import clean_text, is_missing, read_text
from compodiff.interchange.wording import find_change, put_in_words, say_the_same, strip_article
from compodiff.language.terms import Tagger
from compodiff.sets import PAIRS, Place

WRITTEN = "written"  # the relation where a person or a model wrote the relative caption and no more is said
_WHOLE = "squash"  # cells of the whole picture, whatever an encoder crops
_FARTHEST = 2**31  # pixels, of what a picture may have
Row = dict[str, Any]
Roles = Mapping[str, tuple[str, ...]]


@dataclass
class RowBuilder:
    """Builds the rows of a unit.

    Attributes:
        kind: pairs or triplets.
        chosen: columns that a person named.
        root: what paths of pictures count from, where they are paths.
        seed: of the wording of relative captions that a set does not have.
    """

    kind: str
    chosen: Chosen
    root: PictureRoot | None
    seed: int
    _keys: set[str] = field(default_factory=set)

    def build(self, raw: RawRow) -> list[tuple[str, Row]]:
        """Return the rows that a raw row becomes, each with its split; none where it is somebody's test row.

        Raises:
            Fault: it cannot be used; the message names it.
        """
        try:
            roles = self._finder.find(raw)
            split = split_of_row(_first(raw, roles, "split"), raw.split)
            if split == TEST:
                return []
            rows = [*(self._build_pair(raw, roles) if self.kind == PAIRS else self._build_triplets(raw, roles))]
            for row in rows:
                if row["key"] in self._keys:
                    raise Fault(
                        REPEATED_KEY,
                        f"has the key {row['key'][:80]!r}, as another row has; "
                        "name another column, --column key=NAME, or number the rows: --column key=",
                    )
            self._keys.update(row["key"] for row in rows)
            return [(split, row) for row in rows]
        except Fault as fault:
            message = str(fault)
            raise Fault(fault.kind, message if message.startswith(raw.name) else f"{raw.name}: {message}") from fault

    @cached_property
    def _finder(self) -> RoleFinder:
        return RoleFinder(self.kind, self.chosen)

    @cached_property
    def _tagger(self) -> Tagger:
        return Tagger()

    def _build_pair(self, raw: RawRow, roles: Roles) -> Iterator[Row]:
        picture = self._picture(raw, roles, "picture")
        yield {"key": _key(raw, roles), "picture": picture, "texts": _texts(raw, roles, "texts")}

    def _build_triplets(self, raw: RawRow, roles: Roles) -> Iterator[Row]:
        reference, target = self._picture(raw, roles, "reference_image"), self._picture(raw, roles, "target_image")
        before, after = (read_text(_first(raw, roles, f"{end}_caption")) for end in ("reference", "target"))
        key = _key(raw, roles)
        row: Row = {
            "key": key,
            "reference": reference,
            "target": target,
            "reference_caption": before,
            "target_caption": after,
            "mask": self._mask(raw, roles, reference),
            "negatives": self._negatives(raw, roles, reference),
        }
        if roles.get("relative_caption"):
            relation = read_text(_first(raw, roles, "relation")) if roles.get("relation") else WRITTEN
            keyword = read_text(_first(raw, roles, "keyword"))
            said = {"relative_captions": _texts(raw, roles, "relative_caption"), "relation": relation}
            yield row | said | {"keyword": keyword}
        else:
            yield row | self._word(key, before, after)
        if inverse := read_text(_first(raw, roles, "inverse_caption")):
            ends = {"reference": target, "target": reference, "reference_caption": after, "target_caption": before}
            words = {"relative_captions": [inverse], "relation": WRITTEN, "keyword": None}
            yield {**row, **ends, **words, "key": f"{key}-inverse", "mask": None, "negatives": []}

    def _picture(self, raw: RawRow, roles: Roles, role: str) -> Picture:
        picture = take_picture(_first(raw, roles, role), self.root)
        if picture is None:
            raise Fault(MISSING_PICTURE, f"has no {role}")
        name = _first(raw, roles, role.replace("_image", "") + "_name")
        return _rename(picture, name)

    def _negatives(self, raw: RawRow, roles: Roles, reference: Picture) -> list[Picture]:
        """Return the hard negatives; some sets list the reference itself among them."""
        found = [take_picture(value, self.root) for value in _as_list(_first(raw, roles, "negatives"))]
        pictures = [it for it in found if it is not None]
        names = _as_list(_first(raw, roles, "negative_names"))
        if len(names) == len(pictures):  # an export of ours
            return [_rename(it, name) for it, name in zip(pictures, names, strict=True)]
        return [_rename(it, None) for it in pictures if _where(it) != _where(reference)]

    def _mask(self, raw: RawRow, roles: Roles, reference: Picture) -> bytes | None:
        """Return the bits of the cells that the set says are edited; None where it says nothing."""
        try:
            mask = take_picture(_first(raw, roles, "mask_image"), self.root)
            if mask is not None:
                grey = decode(read_content(mask)).convert("L")
                return _pack(find_mask_cells(np.asarray(grey) > 127, _WHOLE))
            boxes = _boxes(_first(raw, roles, "mask_box"))
            if not boxes:
                return None
            size = _size(_first(raw, roles, "mask_box_size"))
            if size:  # of what the boxes were drawn on, which has the picture's shape
                boxes = [tuple(np.clip(np.divide(box, (*size, *size)), 0, 1).tolist()) for box in boxes]
            width, height = read_picture_size(reference)
            cells = [find_box_cells(_in_pixels(box, width, height), (width, height), _WHOLE) for box in boxes]
            return _pack(np.any(cells, axis=0))
        except Fault:
            raise
        except InputInvalid as error:
            raise Fault(BAD_MASK, f"has a mask that cannot be used: {error}") from error

    def _word(self, key: str, before: str | None, after: str | None) -> Row:
        """Put what changed between two captions into words."""
        if not before or not after:
            raise Fault(
                MISSING_ROLE,
                "has neither a relative caption nor both captions to word one from; "
                "say which column it is: --column relative_caption=NAME",
            )
        if say_the_same(before, after):
            raise Fault(SAME_CAPTIONS, f"has no relative caption, and both captions say {after!r}")
        change = find_change(*self._tagger.tag([before, after]))
        worded = put_in_words(change, Random(f"{self.seed}-{key}"))
        return {
            "relative_captions": [worded],
            "relation": change.relation,
            "keyword": strip_article(change.target) or after,
        }


def _key(raw: RawRow, roles: Roles) -> str:
    said = _first(raw, roles, "key")
    return raw.key if said is None or said == "" else clean_text(said)


def _texts(raw: RawRow, roles: Roles, role: str) -> list[str]:
    """Return the texts of a role, of one or more columns, each of which may hold a list.

    Raises:
        Fault: there is none but empty ones.
    """
    values = [value for column in roles[role] for value in _as_list(raw.values.get(column))]
    texts = [*dict.fromkeys(text for value in values if (text := read_text(value)))]
    if not texts:
        raise Fault(EMPTY_TEXT, f"has an empty {role}")
    return texts


def _first(raw: RawRow, roles: Roles, role: str) -> Any:
    values = (raw.values.get(column) for column in roles.get(role, ()))
    return next((value for value in values if not is_missing(value)), None)


def _as_list(value: Any) -> list[Any]:
    """Return the values of a cell: a list, a list in JSON, or one value."""
    if isinstance(value, str) and value.startswith("["):
        try:
            parsed = json.loads(value)
        except (ValueError, RecursionError):
            return [value]
        return parsed if isinstance(parsed, list) else [value]
    if isinstance(value, (list, tuple)):
        return [*value]
    return [] if value is None or value == "" else [value]


def _rename(picture: Picture, name: Any) -> Picture:
    """Give a picture the name that an export of ours remembers."""
    named = replace(picture, name=clean_text(name)) if name else picture
    require_utf8(f"{named.name}{named.file if isinstance(named, Place) else ''}")
    return named


def _where(picture: Picture) -> Any:
    return picture.digest if isinstance(picture, Inline) else (picture.file, picture.offset)


def _boxes(cell: Any) -> list[tuple[float, float, float, float]]:
    """Return left, upper, right, lower of one box or several out of a cell.

    Raises:
        Fault: it holds something else.
    """
    values = _as_list(cell)
    try:
        boxes = []
        for box in values if values and isinstance(values[0], (list, tuple)) else [values] if values else []:
            left, upper, right, lower = (float(edge) for edge in box)
            if not all(abs(edge) < _FARTHEST for edge in (left, upper, right, lower)):
                raise ValueError
            boxes.append((left, upper, right, lower))
    except (TypeError, ValueError, OverflowError) as error:
        message = f"has the mask_box {str(cell)[:60]}, not left, upper, right, lower in pixels"
        raise Fault(BAD_MASK, message) from error
    return boxes


def _size(cell: Any) -> tuple[float, float] | None:
    """Return width and height out of a cell, None for none.

    Raises:
        Fault: it holds something else.
    """
    if cell is None or cell == "":
        return None
    try:
        width, height = (cell["width"], cell["height"]) if isinstance(cell, Mapping) else _as_list(cell)
        if 0 < float(width) < _FARTHEST and 0 < float(height) < _FARTHEST:
            return float(width), float(height)
        raise ValueError
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise Fault(BAD_MASK, f"has the mask_box_size {str(cell)[:60]}, not width and height in pixels") from error


def _in_pixels(box: tuple[float, float, float, float], width: int, height: int) -> tuple[float, float, float, float]:
    """Return a box in pixels; one within 0 and 1 is in shares of the picture."""
    if not all(0 <= edge <= 1 for edge in box):
        return box
    left, upper, right, lower = box
    return left * width, upper * height, right * width, lower * height


def _pack(cells: Any) -> bytes | None:
    return np.packbits(cells.reshape(-1)).tobytes() if cells.any() else None
