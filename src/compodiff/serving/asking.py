"""A query of the shell put to a running server, which has model and index open already. Nothing here imports torch."""

import http.client
import json
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from compodiff.serving.records import ServerRecord, remove_record

_SECONDS = 60.0  # that an answer may take; else the shell answers itself
_OK = 200

Field = tuple[str, object]  # a name of the form, and a value, or the bytes of a file


def ask_server(record: ServerRecord, fields: Iterable[Field]) -> dict[str, Any] | None:
    """Return a server's answer to the form `fields`; None where it gives none, whatever the reason.

    A server that nothing listens at has ended: its record is removed.
    """
    address = urlsplit(record.address)
    boundary = uuid.uuid4().hex
    headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
    if record.token:
        headers["Authorization"] = f"Bearer {record.token}"
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=_SECONDS)
    try:
        connection.request("POST", "/search", b"".join(_encode_form(fields, boundary)), headers)
        response = connection.getresponse()
        content = response.read()
        answer = json.loads(content) if response.status == _OK else None
    except ConnectionRefusedError:
        remove_record(record.pid)
        return None
    except (OSError, http.client.HTTPException, ValueError):
        return None
    finally:
        connection.close()
    return answer if isinstance(answer, dict) else None


def list_references(names: Iterable[str], weights: list[float]) -> list[Field]:
    """Return references as fields of the form: files as their bytes, what is no file by name, weights in their order.

    Raises:
        OSError: a file cannot be read.
    """
    files, others = list[Field](), list[Field]()
    of_files, of_others = list[Field](), list[Field]()
    for place, name in enumerate(names):
        is_file = _is_file(name)
        (files if is_file else others).append(
            ("reference", Path(name).read_bytes()) if is_file else ("reference_id", name)
        )
        if place < len(weights):
            (of_files if is_file else of_others).append(("weight", weights[place]))
    return [*files, *others, *of_files, *of_others]


def _is_file(name: str) -> bool:
    try:
        return Path(name).is_file()
    except (OSError, ValueError):
        return False


def _encode_form(fields: Iterable[Field], boundary: str) -> Iterator[bytes]:
    for name, value in fields:
        is_file = isinstance(value, bytes)
        kind = '; filename="picture"\r\nContent-Type: application/octet-stream' if is_file else ""
        yield f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"{kind}\r\n\r\n'.encode()
        yield value if isinstance(value, bytes) else str(value).encode("utf-8", "surrogateescape")
        yield b"\r\n"
    yield f"--{boundary}--\r\n".encode()
