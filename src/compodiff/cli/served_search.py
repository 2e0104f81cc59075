"""`compodiff search` by a server that has the same model and index open: the same answer, without loading torch."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compodiff.dials import DIALS
from compodiff.errors import CompoDiffError

_NAMES = {"relative_caption": "text", "negative_text": "negative", "where": "filter"}  # of a query -> of the form
_DIALS = ("subtract_weight", "w_image", "w_text", "steps", "draws", "seed", "k", "w_names")


@dataclass(frozen=True)
class ServedAnswer:
    """The answer of a server, as the shell says it."""

    address: str
    index: str
    pictures_root: str
    reply: Mapping[str, Any]
    seconds: dict[str, float]

    @property
    def rows(self) -> list[tuple[int, float, str, str]]:
        """Rank, score, name and id of each result."""
        return [(it["rank"], it["score"], it["name"], it["picture_id"]) for it in self.reply["results"]]

    def describe(self, given: Mapping[str, object], asked: Mapping[str, Any]) -> dict[str, Any]:
        """Return it as the JSON of a search in the shell."""
        query = self.reply["query"]
        dials = {name: query[name] for name in _DIALS} | {"mixing": query["reference_mixing"]}
        said = {_NAMES.get(name, name): asked[name] for name in asked if name not in DIALS}
        kept = ("rank", "picture_id", "name", "score", "duplicates", "found_by")
        results = [
            {**{key: hit[key] for key in kept}, "file": str(Path(self.pictures_root) / hit["metadata"]["path"])}
            for hit in self.reply["results"]
        ]
        return {
            "query": {**given, **said, **dials},
            "index": self.index,
            "results": results,
            "is_guess": self.reply["is_guess"],
            "notes": self.reply["notes"],
            "seconds": self.seconds,
            "served_by": self.address,
        }


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
    from compodiff.serving.asking import ask_server, list_references
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
    seconds = {"load": round(located - started, 4), "search": round(time.perf_counter() - located, 4)}
    return ServedAnswer(record.address, record.index, record.pictures_root, reply, seconds)


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
