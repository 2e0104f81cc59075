"""Rows that a language model learns from and writes: a caption, an edit, the edited caption.

The text of a row, and the prompt from which the model goes on:

    caption: a dog on a beach
    edit: make it a cat
    result: a cat on a beach
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compodiff.errors import InputInvalid
from compodiff.storage.json_files import read_json_lines
from compodiff.storage.tables import read_column_names, read_rows

PUBLIC = ("input", "edit", "output")  # as in the public edit sets
OURS = ("reference_caption", "relative_caption", "target_caption")  # as `compodiff captions keywords` writes
_ANSWER = re.compile(r" (?P<edit>[^\n]*\S[^\n]*)\nresult: (?P<result>[^\n]*\S[^\n]*)")


@dataclass(frozen=True)
class EditRow:
    """What is seen, what is asked for, and what is then seen."""

    caption: str
    edit: str
    result: str

    @property
    def prompt(self) -> str:
        """What the model is given."""
        return make_prompt(self.caption)

    @property
    def answer(self) -> str:
        """What it shall write; the end-of-text token follows."""
        return f" {self.edit}\nresult: {self.result}"


def make_prompt(caption: str) -> str:
    """Return the text after which the model writes an edit of `caption`."""
    return f"caption: {caption}\nedit:"


def parse_edit(caption: str, answer: str) -> EditRow | None:
    """Read what the model wrote after the prompt of `caption`; None where it has another form."""
    found = _ANSWER.fullmatch(answer.rstrip())
    return None if found is None else EditRow(caption, found["edit"].strip(), found["result"].strip())


def is_change(row: EditRow) -> bool:
    """Return whether the result differs from the caption by more than case, spaces and punctuation."""
    return _keep_letters(row.caption) != _keep_letters(row.result)


def read_edit_rows(path: Path) -> Iterator[EditRow]:
    """Yield the rows of a .jsonl or .parquet file with columns input, edit, output, or of a file of caption pairs.

    Raises:
        InputInvalid: the file is missing, of another form, or a row is empty somewhere.
    """
    for number, values in enumerate(_read_values(path), start=1):
        row = EditRow(*(" ".join(str(value or "").split()) for value in values))
        if not (row.caption and row.edit and row.result):
            raise InputInvalid(f"{path}, row {number} is empty in one of its columns; leave it out or mend it")
        yield row


def _read_values(path: Path) -> Iterator[list[Any]]:
    readers: dict[str, Callable[[Path], Iterator[list[Any]]]] = {".jsonl": _read_lines, ".parquet": _read_parquet}
    if path.suffix not in readers:
        raise InputInvalid(f"{path} is neither .jsonl nor .parquet; give such a file with columns {', '.join(PUBLIC)}")
    return readers[path.suffix](path)


def _read_lines(path: Path) -> Iterator[list[Any]]:
    for number, row in read_json_lines(path):
        if missing := [name for name in PUBLIC if name not in row]:
            raise InputInvalid(f"{path}: line {number} has no {', '.join(missing)}; mend it or leave it out")
        yield [row[name] for name in PUBLIC]


def _read_parquet(path: Path) -> Iterator[list[Any]]:
    remedy = f"give a parquet file with columns {', '.join(PUBLIC)}, or caption pairs"
    present = read_column_names(path, remedy=remedy)
    columns = OURS if set(present) >= set(OURS) else PUBLIC
    for row in read_rows(path, columns, remedy=remedy):
        yield [row[name] for name in columns]


def _keep_letters(text: str) -> str:
    return "".join(character for character in text.lower() if character.isalnum())
