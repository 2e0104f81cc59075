"""A triplet between two formats, and the names that its fields go by in public sets."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from compodiff.errors import InputInvalid
from compodiff.params import SimilarityFloors

SCORES = tuple(SimilarityFloors.model_fields)

# Role -> names it goes by, ours first; spelling of case, "-", "." and "_" does not matter. InstructPix2Pix and the sets
# made like it say input_image, edited_image, edit_prompt and original_/edited_prompt or _caption; others say source.
ALIASES = {
    "key": ("key", "id", "qid", "__key__"),
    "reference_image": ("reference_image", "original_image", "input_image", "source_image", "query_image", "reference"),
    "target_image": ("target_image", "edited_image", "output_image", "target"),
    "mask_image": ("mask_image", "mask"),
    "mask_box": ("mask_box",),
    "reference_caption": (
        *("reference_caption", "original_caption", "original_prompt", "input_caption", "input"),
        *("source_caption", "source_prompt", "caption"),
    ),
    "target_caption": (
        *("target_caption", "edited_caption", "edited_prompt", "output_caption", "output"),
        *("target_prompt", "new_caption"),
    ),
    "relative_caption": (
        *("relative_caption", "edit_prompt", "edit_instruction", "instruction", "edit"),
        *("modification", "modified_caption", "query_text", "txt"),
    ),
    "relation": ("relation", "edit_type", "task"),
    "keyword": ("keyword", "target_term"),
    "split": ("split",),
}
# What an export of ours says besides, under our own names only.
OWN = ("reference", "target", "rejected_by", "accepted", *SCORES)
_FARTHEST = 2**31  # pixels, of what a picture may have
_NO_TEXTS = ("key", "reference_image", "target_image", "mask_image", "mask_box")
NEEDED = ("reference_image", "target_image", "reference_caption", "target_caption")


@dataclass(frozen=True)
class Record:
    """A triplet with its pictures as files.

    Attributes:
        name: what an error calls it: file and key.
        key: the set's own, "" if it has none.
        reference, target: content of the picture files.
        mask: content of the mask's file, or None.
        box: left, upper, right, lower of the masked region in pixels of the reference, or None.
        texts: role -> text, of captions, relation, keyword and split, where the set has them.
        own: columns of our manifest, where the set is an export of ours.
        fault: what is wrong with it, in words that follow its name; "" for nothing.
    """

    name: str
    key: str
    reference: bytes
    target: bytes
    mask: bytes | None = None
    box: tuple[float, float, float, float] | None = None
    texts: Mapping[str, str] = field(default_factory=dict)
    own: Mapping[str, Any] = field(default_factory=dict)
    fault: str = ""

    @property
    def is_complete(self) -> bool:
        """Whether it has all that our manifest holds, so that nothing is to be made or judged."""
        return {*OWN} <= self.own.keys() and {"relative_caption", "relation", "split"} <= self.texts.keys()


def find_roles(names: list[str], chosen: Mapping[str, str], where: str) -> dict[str, str]:
    """Find which column has which role.

    Args:
        names: columns that are there.
        chosen: role -> column, by the user; it goes before what is known.
        where: what an error calls the set.

    Raises:
        InputInvalid: a chosen column is not there, a role is unknown, or a needed one is not found.
    """
    for role, name in chosen.items():
        if role not in ALIASES:
            raise InputInvalid(f"{role!r} is no role of a column; choose from: {', '.join(ALIASES)}")
        if name not in names:
            raise InputInvalid(f"{where} has no column {name!r}; it has: {', '.join(names)}")
    spelled = {_simplify_name(name): name for name in names}
    known = {
        role: next((spelled[alias] for alias in map(_simplify_name, aliases) if alias in spelled), None)
        for role, aliases in ALIASES.items()
    }
    found = {role: name for role, name in known.items() if name is not None} | dict(chosen)
    if missing := [role for role in NEEDED if role not in found]:
        raise InputInvalid(
            f"{where} has no column for {', '.join(missing)}; it has: {', '.join(names)}; "
            f"say which it is: --column {missing[0]}=NAME"
        )
    return found


def record_of(
    row: Mapping[str, Any], roles: Mapping[str, str], pictures: Mapping[str, bytes | None], name: str
) -> Record:
    """Put a row of a foreign table into our words; one that lacks a picture or a caption has a fault.

    Args:
        row: column -> value.
        roles: role -> column, of `find_roles`.
        pictures: role -> content of a picture file.
        name: what an error calls the row.
    """
    texts = {
        role: str(row[column]).strip()
        for role, column in roles.items()
        if role not in _NO_TEXTS and row.get(column) is not None
    }
    box, of_box = _parse_box(row.get(roles.get("mask_box", "")))
    faults = [f"has no {role}" for role in ("reference_image", "target_image") if not pictures.get(role)]
    faults += [f"has an empty {role}" for role in ("reference_caption", "target_caption") if not texts.get(role)]
    return Record(
        name=name,
        key=str(row.get(roles.get("key", ""), "")),
        reference=pictures["reference_image"] or b"",
        target=pictures["target_image"] or b"",
        mask=pictures.get("mask_image"),
        box=box,
        texts={role: text for role, text in texts.items() if text},
        own={column: row[column] for column in OWN if row.get(column) is not None},
        fault=", ".join([*faults, of_box] if of_box else faults),
    )


def _parse_box(cell: Any) -> tuple[tuple[float, float, float, float] | None, str]:
    """Left, upper, right, lower out of a cell, or what is wrong with it."""
    if cell is None:
        return None, ""
    try:
        left, upper, right, lower = (float(edge) for edge in cell)
        if not all(abs(edge) < _FARTHEST for edge in (left, upper, right, lower)):
            raise ValueError
    except (TypeError, ValueError, OverflowError):
        return None, f"has the mask_box {cell!r}, not left, upper, right, lower in pixels"
    return (left, upper, right, lower), ""


def _simplify_name(name: str) -> str:
    return name.lower().replace("-", "_").replace(".", "_")
