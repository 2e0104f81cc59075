"""A query of the shell put to a running server, which has model and index open already. Nothing here imports torch."""

import http.client
import json
import uuid
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

from compodiff.errors import InputInvalid
from compodiff.serving.records import ServerRecord, remove_record

if TYPE_CHECKING:
    from PIL import Image

_SECONDS = 60.0  # that an answer may take; else the shell answers itself
_OK = 200
_EDGE = 320  # pixels of a thumbnail, which a page shows at half of that

Field = tuple[str, object]  # a name of the form, and a value, or the bytes of a file


def ask_server(record: ServerRecord, fields: Iterable[Field]) -> dict[str, Any] | None:
    """Return a server's answer to the form `fields`; None where it gives none, whatever the reason.

    A server that nothing listens at has ended: its record is removed.
    """
    boundary = uuid.uuid4().hex
    kind = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
    content = _request(record, "POST", "/search", b"".join(_encode_form(fields, boundary)), kind)
    return _read_object(content)


def read_message(record: ServerRecord) -> str:
    """Return what a server says that it does besides answering, such as how much of a folder is indexed; else ""."""
    state = _read_object(_request(record, "GET", "/api/state"))
    return "" if state is None else str(state.get("message", ""))


def list_pictures(record: ServerRecord, picture_ids: Sequence[str]) -> list[dict[str, Any]]:
    """Return name and addresses of pictures of the server's index; those that it does not know are left out."""
    if not picture_ids:
        return []
    asked = urlencode([("picture_id", each) for each in picture_ids])
    answer = _read_object(_request(record, "GET", f"/pictures?{asked}"))
    return [] if answer is None else list(answer["pictures"])


def read_thumbnail(record: ServerRecord, address: str) -> "Image.Image":
    """Return a server's small copy of a picture, by the address that an answer has.

    Raises:
        InputInvalid: the picture can no longer be read, or the server no longer answers.
    """
    from compodiff.images import decode

    content = _request(record, "GET", f"{address}?edge={_EDGE}")
    if content is None:
        raise InputInvalid(f"the server at {record.address} gives no picture at {address}; --no-server reads it here")
    return decode(content)


def _read_object(content: bytes | None) -> dict[str, Any] | None:
    try:
        answer = json.loads(content or b"null")
    except ValueError:
        return None
    return answer if isinstance(answer, dict) else None


def _request(
    record: ServerRecord, method: str, address: str, body: bytes | None = None, headers: dict[str, str] | None = None
) -> bytes | None:
    """Return what a server answers; None where that is no success."""
    place = urlsplit(record.address)
    own = {"Authorization": f"Bearer {record.token}"} if record.token else {}
    connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=_SECONDS)
    try:
        connection.request(method, address, body, {**own, **(headers or {})})
        response = connection.getresponse()
        content = response.read()
    except ConnectionRefusedError:
        remove_record(record.pid)
        return None
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
    return content if response.status == _OK else None


def list_references(names: Iterable[str], weights: list[float]) -> list[Field]:
    """Return references as fields of the form: files as their bytes, what is no file by name, weights in their order.

    Raises:
        OSError: a file cannot be read.
    """
    files, others = list[Field](), list[Field]()
    of_files, of_others = list[Field](), list[Field]()
    for place, name in enumerate(names):
        is_file = is_picture_file(name)
        (files if is_file else others).append(
            ("reference", Path(name).read_bytes()) if is_file else ("reference_id", name)
        )
        if place < len(weights):
            (of_files if is_file else of_others).append(("weight", weights[place]))
    return [*files, *others, *of_files, *of_others]


def is_picture_file(name: str) -> bool:
    """Whether a reference is a file, and no id or emoji."""
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
