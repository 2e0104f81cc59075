"""`compodiff search` by a server that has the same model and index open: the same answer, without loading torch."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compodiff.dials import DIALS
from compodiff.errors import CompoDiffError

if TYPE_CHECKING:
    from compodiff.search.html_page import ShownAnswer
    from compodiff.serving.records import ServerRecord

_NAMES = {"relative_caption": "text", "negative_text": "negative", "where": "filter"}  # of a query -> of the form
_DIALS = ("subtract_weight", "w_image", "w_text", "steps", "draws", "seed", "k", "w_names")


@dataclass(frozen=True)
class ServedAnswer:
    """The answer of a server, as the shell says it."""

    record: "ServerRecord"
    reply: Mapping[str, Any]
    seconds: dict[str, float]

    @property
    def rows(self) -> list[tuple[int, float, str, str]]:
        """Rank, score, name and id of each result."""
        return [(it["rank"], it["score"], it["name"], it["picture_id"]) for it in self.reply["results"]]

    @property
    def files(self) -> list[tuple[str, Path]]:
        """Id of each result, and the file that holds it."""
        root = Path(self.record.pictures_root)
        return [(it["picture_id"], root / it["metadata"].get("path", "")) for it in self.reply["results"]]

    def read_pictures(self, references: Sequence[str]) -> "ShownAnswer":
        """Read the pictures of the query and of the results; `references` are those of `can_draw`.

        Raises:
            InputInvalid: one can no longer be read.
        """
        from compodiff.images import read_picture
        from compodiff.search.html_page import CaptionedPicture, ShownAnswer
        from compodiff.serving.asking import is_picture_file, list_pictures, read_thumbnail

        query = self.reply["query"]
        if references and is_picture_file(references[0]):
            shown = [CaptionedPicture(read_picture(Path(each)), Path(each).name) for each in references]
        else:
            known = list_pictures(self.record, query["reference_id"])
            shown = [CaptionedPicture(read_thumbnail(self.record, it["thumbnail"]), it["name"]) for it in known]
        return ShownAnswer(
            references=shown,
            relative_caption=query["text"],
            negative_text=query["negative"],
            dials=f"w_image {query['w_image']:g}, w_text {query['w_text']:g}, {query['steps']} steps",
            results=[
                (CaptionedPicture(read_thumbnail(self.record, hit["thumbnail"]), hit["name"]), hit["score"])
                for hit in self.reply["results"]
            ],
        )

    def describe(self, given: Mapping[str, object], asked: Mapping[str, Any]) -> dict[str, Any]:
        """Return it as the JSON of a search in the shell."""
        query = self.reply["query"]
        dials = {name: query[name] for name in _DIALS} | {"mixing": query["reference_mixing"]}
        said = {_NAMES.get(name, name): asked[name] for name in asked if name not in DIALS}
        kept = ("rank", "picture_id", "name", "score", "duplicates", "found_by")
        results = [
            {**{key: hit[key] for key in kept}, "file": str(file)}
            for hit, (_, file) in zip(self.reply["results"], self.files, strict=True)
        ]
        return {
            "query": {**given, **said, **dials},
            "index": self.record.index,
            "results": results,
            "is_guess": self.reply["is_guess"],
            "notes": self.reply["notes"],
            "seconds": self.seconds,
            "served_by": self.record.address,
        }


def can_draw(given: tuple[Sequence[str], Sequence[float], Path | None]) -> bool:
    """Whether a served answer can be shown as pictures: without a mask, references all files, or none of them."""
    from compodiff.serving.asking import is_picture_file

    references, _, mask = given
    return mask is None and len({is_picture_file(each) for each in references}) < 2


def ask_running_server(
    model: str | None,
    index: Path | None,
    given: tuple[Sequence[str], Sequence[float], Path | None],
    asked: Mapping[str, Any],
) -> ServedAnswer | None:
    """Return the answer of a server that has model and index open; None where there is none, or it gives none.

    What is wrong with the query is then found by the search here, and said in its words.
    """
    from compodiff.search.located import locate_search
    from compodiff.serving.asking import ask_server, list_references, read_message
    from compodiff.serving.records import find_record, find_records_folder

    references, weights, mask = given
    if not find_records_folder().is_dir() or (weights and len(weights) != len(references)):
        return None
    started = time.perf_counter()
    try:
        record = find_record(locate_search(model, index).identify())
        if record is None:
            return None
        fields = [*list_references(references, list(weights)), *_list_fields(asked)]
        if mask is not None:
            fields.append(("mask", mask.read_bytes()))
    except (CompoDiffError, OSError):
        return None
    located = time.perf_counter()
    reply = ask_server(record, fields)
    if reply is None:
        return None
    if message := read_message(record):
        reply["notes"] = [*reply["notes"], message]
    seconds = {"load": round(located - started, 4), "search": round(time.perf_counter() - located, 4)}
    return ServedAnswer(record, reply, seconds)


def _list_fields(asked: Mapping[str, Any]) -> list[tuple[str, object]]:
    """Return a query's texts and dials as fields of the form; what was not said is left to the server's model."""
    fields: list[tuple[str, object]] = []
    for name, value in asked.items():
        own = (DIALS[name].option or name) if name in DIALS else _NAMES.get(name, name)
        if name == "exclude":
            fields += [(own, each) for each in value]
        elif value is not None and value != "":
            fields.append((own, value))
    return fields
