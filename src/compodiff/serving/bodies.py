"""A search sent as JSON, or as an address: each is a spelling of the form that `SearchForm` checks.

POST /search takes a form (pictures as files) or JSON (pictures as base64), GET /search what stands behind the # of a
link of the page.
"""

import io
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from fastapi.routing import APIRoute
from pydantic import ConfigDict, Field, ValidationError
from starlette.datastructures import FormData, UploadFile
from starlette.requests import ClientDisconnect

from compodiff.serving.form import SearchFields, SearchForm, decode_base64
from compodiff.serving.limits import MAX_REFERENCES

_FORMS = ("multipart/form-data", "application/x-www-form-urlencoded")
_JSON = "application/json"
_PICTURE = "base64 of a picture, or a data: address of one"


class SearchBody(SearchFields):
    """A search as JSON: the fields of the form, with pictures as base64."""

    model_config = ConfigDict(
        json_schema_extra={"example": {"reference_id": ["twemoji-1F534"], "text": "make it blue", "k": 5}}
    )

    reference: list[str] = Field(default=[], max_length=MAX_REFERENCES, description=f"pictures: {_PICTURE}")
    mask: str | None = Field(default=None, description=f"of the reference's shape, white where to replace: {_PICTURE}")


class SearchLink(SearchFields):
    """A search as an address, with what else a link of the page holds."""

    trail: list[str] = Field(default=[], description="of a link of the page; not looked at")
    thumbnail: list[str] = Field(default=[], description="of a link of the page; not looked at")

    def to_form(self) -> SearchForm:
        """Return the form that asks the same."""
        return SearchForm.model_validate(self.model_dump(exclude={"trail", "thumbnail"}))


JSON_BODY: dict[str, Any] = {"requestBody": {"content": {_JSON: {"schema": SearchBody.model_json_schema()}}}}


class FormOrJsonRoute(APIRoute):
    """A route whose form may be sent as JSON; what is neither is refused."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return what answers a request, with JSON made a form before."""
        answer = super().get_route_handler()

        async def answer_either(request: Request) -> Response:
            kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
            if kind == _JSON:
                try:
                    body = await request.body()
                except ClientDisconnect as error:  # as FastAPI takes a form that is cut off: no fault of the server
                    raise HTTPException(400, "the body is cut off") from error
                return await answer(_RequestWithForm(request, _read_body(body)))
            if kind and kind not in _FORMS:
                raise HTTPException(415, f"a search is a form or {_JSON}, not {kind[:80]}; GET /docs shows both")
            return await answer(request)

        return answer_either


class _RequestWithForm(Request):
    """A request whose form is known."""

    def __init__(self, request: Request, form: FormData) -> None:
        super().__init__(request.scope, request.receive)
        self._known = form

    async def form(self, **_: Any) -> FormData:  # type: ignore[override]
        """Return the form, however it came."""
        return self._known


def _read_body(content: bytes) -> FormData:
    """Return JSON as the form that asks the same.

    Raises:
        RequestValidationError: it is no JSON, or its fields are not those of a search.
    """
    try:
        body = SearchBody.model_validate_json(content)
    except ValidationError as error:
        faults = [{**fault, "loc": ("body", *fault["loc"])} for fault in error.errors(include_url=False)]
        raise RequestValidationError(faults) from error
    said = body.model_dump(exclude_unset=True, exclude_none=True)
    fields: list[tuple[str, str | UploadFile]] = []
    for name, value in said.items():
        for one in value if isinstance(value, list) else [value]:
            fields.append((name, _make_upload(one, name) if name in ("reference", "mask") else str(one)))
    return FormData(fields)


def _make_upload(given: str, name: str) -> UploadFile:
    content = decode_base64(given.partition(",")[2] if given.startswith("data:") else given, name)
    return UploadFile(io.BytesIO(content), filename=name)
