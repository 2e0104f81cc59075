"""Annotation files as users have them: found in several layouts, read with errors that name the item."""

import json
from collections.abc import Iterable
from pathlib import Path
from string import Formatter
from typing import Any, TypeVar

from compodiff.errors import InputInvalid
from compodiff.storage.json_files import read_json

Kind = TypeVar("Kind")
_MOST_DIGITS = 20  # of a picture's number


def find(root: Path, relative: str, nested: Iterable[str] = ()) -> Path:
    """Return `relative` under `root` or under one of its folders `nested`.

    Raises:
        InputInvalid: `root` is no folder, or none of the places holds it.
    """
    if not root.is_dir():
        raise InputInvalid(f"{root} is not a folder; give the benchmark's folder with --root")
    places = [root / relative, *(root / folder / relative for folder in nested)]
    for place in places:
        if place.exists():
            return place
    raise InputInvalid(f"{relative} is not in {root}; see where to get it with: compodiff benchmark doctor")


def read_list(path: Path) -> list[dict[str, Any]]:
    """Read a JSON list of objects.

    Raises:
        InputInvalid: it is not there, not JSON or not a list of objects.
    """
    content = read_json(path, distinct=True)
    if not isinstance(content, list):
        raise InputInvalid(f"{path} holds a JSON {type(content).__name__}, not a list of queries")
    for place, item in enumerate(content):
        if not isinstance(item, dict):
            raise InputInvalid(f"{path}: item {place} is {json.dumps(item)[:40]}, not an object")
    return content


def take(item: dict[str, Any], key: str, kind: type[Kind], where: str) -> Kind:
    """Return `item[key]`, which must be of type `kind`.

    Raises:
        InputInvalid: the key is absent or its value of another type; `where` names the item.
    """
    if key not in item:
        raise InputInvalid(f"{where} has no {key!r}; it has: {', '.join(map(str, item)) or 'nothing'}")
    value = item[key]
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise InputInvalid(f"{where}: {key} is {json.dumps(value)[:60]}, not {kind.__name__}")
    return value


def take_strings(item: dict[str, Any], key: str, where: str) -> tuple[str, ...]:
    """Return `item[key]`, which must be a list of strings.

    Raises:
        InputInvalid: it is not.
    """
    values = take(item, key, list, where)
    if not all(isinstance(value, str) for value in values):
        raise InputInvalid(f"{where}: {key} is {json.dumps(values)[:60]}, not a list of strings")
    return tuple(values)


def read_lines(path: Path) -> list[tuple[int, str]]:
    """Return the number, from 1, and the text of each line that is not blank; only a line feed ends a line.

    Raises:
        InputInvalid: the file cannot be read, or is not UTF-8 text.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise InputInvalid(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputInvalid(f"{path} is not UTF-8 text: {error}") from error
    return [(number, line.strip()) for number, line in enumerate(text.split("\n"), start=1) if line.strip()]


def shorten_to_number(name: str) -> str:
    """Shorten `000000012345.jpg`, `12345` and `COCO/000000012345` to COCO's or Visual Genome's id `12345`."""
    stem = name.rsplit("/", 1)[-1].split(".", 1)[0]
    return str(int(stem)) if stem.isdecimal() and len(stem) <= _MOST_DIGITS else name


def fill_template(template: str, **fields: str) -> str:
    """Put a query's texts into a template such as "a photo that {relative_caption}", which may name each of `fields`.

    Raises:
        InputInvalid: it names another field or none, or its braces do not match.
    """
    there = " and ".join(f"{{{name}}}" for name in fields)
    try:
        named = [(name, spec, kind) for _, name, spec, kind in Formatter().parse(template) if name is not None]
    except ValueError as error:
        raise InputInvalid(f"the template {template!r} does not parse ({error}); its fields are {there}") from error
    if not named:
        raise InputInvalid(f"the template {template!r} has no field, so all texts would be one; its fields are {there}")
    for name, spec, kind in named:
        if name not in fields or spec or kind:
            shown = name + (f"!{kind}" if kind else "") + (f":{spec}" if spec else "")
            raise InputInvalid(f"the template {template!r} has an unknown field {{{shown}}}; its fields are {there}")
    return template.format(**fields)
