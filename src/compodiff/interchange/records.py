"""A row of somebody's set as it was read, and the names that its fields go by in public sets."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from compodiff.errors import InputInvalid
from compodiff.interchange.faults import MISSING_ROLE, Fault
from compodiff.sets import PAIRS, TRIPLETS

Chosen = Mapping[str, tuple[str, ...]]  # role -> the columns that a person named for it

# Role -> names it goes by, ours first; spelling of case, "-", "." and "_" does not matter. InstructPix2Pix and the sets
# made like it say input_image, edited_image, edit_prompt and original_/edited_prompt or _caption; others say source;
# Inter-Edit says source_file and target_file in its tars, original_image_path and edited_image_path in a list.
_COMMON = {"key": ("key", "id", "qid", "sample_id", "__key__"), "split": ("split",)}
ALIASES: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    TRIPLETS: {
        **_COMMON,
        "reference_image": (
            *("reference_image", "original_image", "input_image", "source_image", "query_image", "reference"),
            *("q_img", "pth1", "source_file", "original_image_path"),
        ),
        "target_image": (
            *("target_image", "edited_image", "output_image", "target", "t_img", "pth2"),
            *("target_file", "edited_image_path"),
        ),
        "mask_image": ("mask_image", "mask", "mask_file", "mask_image_path"),
        "mask_box": ("mask_box", "mask_boxes", "bounding_box"),
        "mask_box_size": ("mask_box_size", "bbox_reference_dimensions"),
        "negatives": ("negatives", "hard_negatives", "hns"),
        "reference_caption": (
            *("reference_caption", "original_caption", "original_prompt", "input_caption", "input"),
            *("source_caption", "source_prompt", "caption", "txt1"),
        ),
        "target_caption": (
            *("target_caption", "edited_caption", "edited_prompt", "output_caption", "output"),
            *("target_prompt", "new_caption", "txt2"),
        ),
        "relative_caption": (
            *("relative_captions", "relative_caption", "edit_prompt", "edit_instruction", "instruction", "edit"),
            *("modification", "modified_caption", "query_text", "q_text", "txt"),
        ),
        "inverse_caption": ("inverse_caption", "inverse_edit"),
        "relation": ("relation", "edit_type", "task"),
        "keyword": ("keyword", "target_term"),
        "reference_name": ("reference_name",),
        "target_name": ("target_name",),
        "negative_names": ("negative_names",),
    },
    PAIRS: {
        **_COMMON,
        "picture": (
            *("picture", "image", "img", "jpg", "filepath", "file_path", "image_path", "file_name", "filename"),
            *("image_name", "path", "file"),
        ),
        "texts": ("texts", "captions", "caption", "text", "txt", "title", "raw", "sentences", "comment"),
        "picture_name": ("picture_name",),
    },
}
NEEDED = {TRIPLETS: ("reference_image", "target_image"), PAIRS: ("picture", "texts")}


@dataclass(frozen=True)
class RawRow:
    """A row as its file has it.

    Attributes:
        name: what a message calls it: its file, and its key or number.
        key: for a set that names none.
        split: what its file says.
        values: column -> value; of a picture a `Place`, its bytes, struct{bytes, path}, base64, or a path.
    """

    name: str
    key: str
    split: str
    values: Mapping[str, Any]


def tell_kind(columns: Iterable[str], chosen: Chosen) -> str:
    """Return whether columns are those of triplets or of pairs: triplets have a target picture."""
    spelled = {_plain(name) for name in columns}
    if any(role not in ALIASES[PAIRS] for role in chosen) or spelled & {*ALIASES[TRIPLETS]["target_image"]}:
        return TRIPLETS
    return PAIRS


@dataclass
class RoleFinder:
    """Finds the columns of roles; a column may first come with the hundredth row.

    Attributes:
        kind: pairs or triplets.
        chosen: columns that a person named, which go before what is known; a role named with "" has none.
    """

    kind: str
    chosen: Chosen
    _seen: dict[str, None] = field(default_factory=dict)
    _roles: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def find(self, row: RawRow) -> Mapping[str, tuple[str, ...]]:
        """Return the columns of each role that a row may have.

        Raises:
            Fault: a needed role, or a chosen column, has not been met in any row.
        """
        if not self._roles or not row.values.keys() <= self._seen.keys():
            self._seen |= dict.fromkeys(row.values)
            self._roles = self._look(row.name)
        return self._roles

    def _look(self, where: str) -> dict[str, tuple[str, ...]]:
        spelled = {_plain(name): name for name in reversed(self._seen)}
        found: dict[str, tuple[str, ...]] = {}
        for role, aliases in ALIASES[self.kind].items():
            known = tuple(spelled[alias] for alias in aliases if alias in spelled)
            found |= {role: known[: None if role == "key" else 1]} if known else {}
        there = f"it has: {', '.join(self._seen)}"
        for role, columns in self.chosen.items():
            named = tuple(name for name in columns if name)
            if absent := [name for name in named if name not in self._seen]:
                raise Fault(MISSING_ROLE, f"{where} has no column {absent[0]!r}; {there}")
            found[role] = named
        if missing := [role for role in NEEDED[self.kind] if not found.get(role)]:
            raise Fault(
                MISSING_ROLE,
                f"{where} has no column for {', '.join(missing)}; {there}; say which it is: --column {missing[0]}=NAME",
            )
        return found


def require_roles(chosen: Chosen) -> None:
    """Refuse a role that no row has.

    Raises:
        InputInvalid: there is one.
    """
    known = [*dict.fromkeys(role for roles in ALIASES.values() for role in roles)]
    for role in chosen:
        if role not in known:
            raise InputInvalid(f"{role!r} is no role of a column; choose from: {', '.join(known)}")


def _plain(name: str) -> str:
    return name.lower().replace("-", "_").replace(".", "_")
