"""What the page asks besides search: openings, changes, facets, and the steps of an answer."""

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, FastAPI, Form, Query, Request
from pydantic import BaseModel, Field

from compodiff.serving.bodies import JSON_BODY, FormOrJsonRoute
from compodiff.serving.champion import ServedModel
from compodiff.serving.facets import FacetsReply, list_facets
from compodiff.serving.form import Id, SearchForm
from compodiff.serving.openings import ANYWHERE, Example, list_changes
from compodiff.serving.rate_limits import name_client
from compodiff.serving.replies import PictureReply, make_picture_reply
from compodiff.serving.service import Service


class ExampleReply(BaseModel):
    """A query and the picture that answers it."""

    reference: PictureReply
    text: str
    answer: PictureReply


class OpeningsReply(BaseModel):
    """What one may begin with."""

    examples: list[ExampleReply] = Field(description="queries that this model gets right; none over one's own folder")
    pictures: list[PictureReply] = Field(description="pictures that differ from each other")
    changes: list[str] = Field(description="worth a try with any picture")


class ChangesReply(BaseModel):
    """Words that fit a picture."""

    changes: list[str]


class ImaginedStep(BaseModel):
    """Where the sampler stands after one of its steps; before the first there is only noise."""

    step: int
    picture: PictureReply = Field(description="the nearest to it")
    score: float = Field(description="their cosine")


class ImaginingReply(BaseModel):
    """The way from noise to an answer."""

    steps: list[ImaginedStep]


Faults = dict[int | str, dict[str, Any]]


def add_page_api(app: FastAPI, service: Service, describe_faults: Callable[..., Faults]) -> None:
    """Add the routes; `describe_faults` says what their statuses mean."""
    faults = describe_faults(400, 401, 422)

    @app.get("/openings", responses=faults, summary="Worked examples and pictures to begin with")
    async def get_openings() -> OpeningsReply:
        live = service.champion.live
        examples, rows = await service.openings.find(live)
        return OpeningsReply(
            examples=[_make_example_reply(live, each) for each in examples],
            pictures=[make_picture_reply(live, row) for row in rows],
            changes=list(ANYWHERE),
        )

    @app.get("/changes", responses=faults, summary="Changes that fit a picture of the index")
    def get_changes(picture_id: Annotated[Id, Query()]) -> ChangesReply:
        return ChangesReply(changes=list_changes(service.champion.live, picture_id))

    @app.get("/facets", responses=faults, summary="What the pictures can be filtered by")
    def get_facets() -> FacetsReply:
        return FacetsReply(facets=list_facets(service.champion.live.searcher.index.read_sample()))

    router = APIRouter(route_class=FormOrJsonRoute)

    @router.post(
        "/imagine",
        responses=describe_faults(400, 401, 413, 415, 422, 429),
        openapi_extra=JSON_BODY,
        summary="The nearest picture at every step of an answer",
    )
    async def imagine(
        request: Request, form: Annotated[SearchForm, Form(media_type="multipart/form-data")]
    ) -> ImaginingReply:
        live, rankings = await service.imagine(form, name_client(request.scope))
        row = live.searcher.index.row
        steps = [
            ImaginedStep(step=step, picture=make_picture_reply(live, row[hits[0].picture_id]), score=hits[0].score)
            for step, hits in enumerate(rankings)
            if hits
        ]
        return ImaginingReply(steps=steps)

    app.include_router(router)


def _make_example_reply(live: ServedModel, example: Example) -> ExampleReply:
    reference, answer = (make_picture_reply(live, row) for row in (example.reference, example.answer))
    return ExampleReply(reference=reference, text=example.text, answer=answer)
