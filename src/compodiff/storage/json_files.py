"""JSON and JSON lines as other people's programs write them: UTF-8, with or without a byte-order mark.

Only a line feed ends a line: U+2028, U+2029 and U+0085, which Python's `splitlines` takes for ends, may be in a text.
"""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from compodiff.errors import InputInvalid

_MARK = b"\xef\xbb\xbf"


def parse_json(content: bytes, where: str, *, distinct: bool = False) -> Any:
    """Return what a JSON text says; `where` names it.

    Args:
        content: the text.
        where: names it in messages.
        distinct: refuse an object with a key twice, of which JSON would keep the last and hide the others.

    Raises:
        InputInvalid: it is no JSON, is nested too deeply, or holds a number of thousands of digits.
    """

    def refuse_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            key, times = Counter(key for key, _ in pairs).most_common(1)[0]
            raise InputInvalid(f"{where}: the key {key!r} occurs {times} times; name each once")
        return found

    try:
        text = content.removeprefix(_MARK).decode("utf-8")
        return json.loads(text, object_pairs_hook=refuse_repeats if distinct else None)
    except UnicodeDecodeError as error:
        raise InputInvalid(f"{where} is not UTF-8 text: {error}") from error
    except (ValueError, RecursionError) as error:
        raise InputInvalid(f"{where} is not JSON: {error}") from error


def read_json(path: Path, *, distinct: bool = False) -> Any:
    """Read a JSON file; `distinct` refuses an object with a key twice.

    Raises:
        InputInvalid: it cannot be read, or is not JSON.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise InputInvalid(f"{path} is not there") from error
    except OSError as error:
        raise InputInvalid(f"{path} cannot be read: {error.strerror}") from error
    return parse_json(content, str(path), distinct=distinct)


def read_json_lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the number, from 1, and the object of each line that is not empty; one line is in memory at a time.

    Raises:
        InputInvalid: the file cannot be read, or a line is not a JSON object.
    """
    try:
        with path.open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                content = line.removeprefix(_MARK) if number == 1 else line
                if not content.strip():
                    continue
                item = parse_json(content, f"{path}: line {number}")
                if not isinstance(item, dict):
                    raise InputInvalid(f"{path}: line {number} is not an object")
                yield number, item
    except FileNotFoundError as error:
        raise InputInvalid(f"{path} is not there") from error
    except OSError as error:
        raise InputInvalid(f"{path} cannot be read: {error.strerror}") from error
