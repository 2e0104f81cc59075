"""What is sent back, as OpenAPI describes it."""

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from pydantic import BaseModel, ConfigDict, Field

from compodiff.model.sampling.query import SamplerOptions
from compodiff.search.query import PreparedQuery
from compodiff.search.ranking import Hit, Ranking
from compodiff.serving.champion import ServedModel
from compodiff.serving.form import SearchForm, encode_cells, encode_embedding
from compodiff.serving.limits import Limits


class FaultReply(BaseModel):
    """What is wrong, and the way out, in a line."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"error": "k: Input should be at most 1000"}]})

    error: str


class HitReply(BaseModel):
    """One picture of a ranking."""

    rank: int
    picture_id: str
    name: str
    score: float = Field(description="cosine to what was looked for")
    picture: str = Field(description="its address here")
    thumbnail: str
    duplicates: list[str] = Field(description="ids of pictures that look the same")
    found_by: list[str] = Field(description="picture (one of the nearest); name, folder, caption, ...: words are there")
    metadata: dict[str, Any]


class QueryReply(BaseModel):
    """A query with every dial that it was answered with: sent again, it has the same answer."""

    reference_id: list[str]
    reference_embedding: list[str] = Field(
        description="with `embedding`, where not all references are ids: theirs, masked. Without it, a query with "
        "uploads cannot be sent again"
    )
    weight: list[float]
    exclude: list[str]
    more: list[str]
    less: list[str]
    text: str
    negative: str
    subtract: str
    subtract_weight: float
    mask_cells: str | None = Field(description="base64 of the 64 x 64 bits, row by row; 1 where to replace")
    w_image: float
    w_text: float
    steps: int
    draws: int
    reference_mixing: float
    seed: int
    k: int
    w_names: float
    filter: str
    mode: str


class RankingReply(BaseModel):
    """The answer to a search."""

    query: QueryReply
    results: list[HitReply]
    embedding: str | None = Field(
        description="where asked for: what was looked for, base64 of float32, the reference of a following query"
    )
    seconds: dict[str, float] = Field(description="wait, prepare, encode, sample, search; of the batch it was part of")
    is_guess: bool = Field(description="words alone were asked for, the first has them nowhere, and none is near")
    notes: list[str] = Field(description="what a person should know besides: why nothing was found, what had no effect")
    model: str

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "query": {"reference_id": ["twemoji-1F534"], "text": "make it blue", "steps": 10, "k": 1},
                    "results": [{"rank": 1, "picture_id": "twemoji-1F535", "name": "blue circle", "score": 0.93}],
                    "seconds": {"wait": 0.0, "prepare": 0.001, "encode": 0.01, "sample": 0.02, "search": 0.001},
                }
            ]
        }
    )


class PictureReply(BaseModel):
    """One picture of the index."""

    picture_id: str
    name: str
    picture: str
    thumbnail: str


class PicturesReply(BaseModel):
    """Some pictures of the index."""

    count: int = Field(description="of all that match")
    pictures: list[PictureReply]


class HealthReply(BaseModel):
    """Whether queries are answered."""

    status: str = Field(description="ok, or stale: a newer model or index cannot be opened, the old one answers")
    reason: str
    model: str
    pictures: int


class ModelReply(BaseModel):
    """The model, the index and the limits."""

    model: str
    version: str
    encoder: dict[str, Any]
    sampling: dict[str, Any] = Field(description="the dials where a query does not say")
    paper: dict[str, float] = Field(description="the paper's dials (arXiv 2303.11916, section 4.3)")
    pictures: int
    index_kind: str
    trained_on: list[str] = Field(description="the sets that the model learned from, where its card says")
    columns: list[str] = Field(description="of the metadata, for filters")
    attribution: str
    limits: dict[str, int]
    reloads: int
    wants_token: bool = Field(description="whether requests need `Authorization: Bearer TOKEN`")


_AS_ASKED = ("more", "less", "text", "negative", "subtract", "subtract_weight", "k", "w_names", "filter", "mode")
PAPER = {"w_image": 1.5, "w_text": 7.5, "steps": 10}


def make_picture_address(picture_id: str) -> str:
    """Return where a picture's own bytes are."""
    return f"/pictures/{quote(picture_id, safe='/')}"


def make_thumbnail_address(picture_id: str) -> str:
    """Return where its small version is."""
    return f"/thumbnails/{quote(picture_id, safe='/')}"


def make_picture_reply(live: ServedModel, row: int) -> PictureReply:
    """Return the picture in `row` of the index."""
    index = live.searcher.index
    picture_id = index.picture_ids[row]
    name = index.names[row]
    address = make_picture_address(picture_id)
    return PictureReply(picture_id=picture_id, name=name, picture=address, thumbnail=make_thumbnail_address(picture_id))


def make_ranking_reply(
    live: ServedModel, form: SearchForm, prepared: PreparedQuery, answer: Ranking, seconds: Mapping[str, float]
) -> RankingReply:
    """Return the answer as it is sent."""
    return RankingReply(
        query=_describe_query(live, form, answer, prepared.options),
        results=_describe_hits(live, answer.hits),
        embedding=encode_embedding(answer.embedding) if form.embedding else None,
        seconds={phase: round(spent, 5) for phase, spent in seconds.items()},
        is_guess=answer.is_guess,
        notes=list(answer.notes),
        model=live.places.version,
    )


def make_model_reply(live: ServedModel, limits: Limits, reloads: int, *, wants_token: bool) -> ModelReply:
    """Return what is being served."""
    composer, index = live.searcher.composer, live.searcher.index
    return ModelReply(
        model=live.places.model,
        version=live.places.version,
        encoder=composer.encoder.manifest.to_json(),
        sampling=composer.sampling.model_dump(),
        paper=PAPER,
        pictures=index.manifest.count,
        index_kind=index.manifest.kind,
        trained_on=composer.card.list_sets(),
        columns=live.searcher.filters.columns,
        attribution=live.places.attribution,
        limits=dict(vars(limits)),
        reloads=reloads,
        wants_token=wants_token,
    )


def _describe_query(live: ServedModel, form: SearchForm, answer: Ranking, options: SamplerOptions) -> QueryReply:
    only_ids = answer.reference is None or not (form.reference or form.reference_embedding)
    told = answer.reference if form.embedding and not only_ids else None
    said: dict[str, Any] = {name: getattr(form, name) for name in _AS_ASKED}
    said |= {name: getattr(options, name) for name in ("w_image", "w_text", "draws")}
    return QueryReply(
        reference_id=form.reference_id if only_ids else [],
        reference_embedding=[] if told is None else [encode_embedding(told)],
        weight=form.weight if only_ids else [],
        exclude=form.exclude if only_ids else [*form.exclude, *form.reference_id, *answer.own],
        mask_cells=None if answer.cells is None else encode_cells(answer.cells),
        steps=options.num_inference_steps,
        reference_mixing=options.masked_reference_mixing if answer.cells is not None else options.reference_mixing,
        seed=live.searcher.composer.sampling.seed if form.seed is None else form.seed,
        **said,
    )


def _describe_hits(live: ServedModel, hits: Sequence[Hit]) -> list[HitReply]:
    index = live.searcher.index
    known = live.metadata.read_rows([index.row[hit.picture_id] for hit in hits])
    return [
        HitReply(
            rank=hit.rank,
            picture_id=hit.picture_id,
            name=hit.name,
            score=hit.score,
            picture=make_picture_address(hit.picture_id),
            thumbnail=make_thumbnail_address(hit.picture_id),
            duplicates=list(hit.duplicates),
            found_by=list(hit.found_by),
            metadata=metadata,
        )
        for hit, metadata in zip(hits, known, strict=True)
    ]
