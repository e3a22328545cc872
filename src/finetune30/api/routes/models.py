"""Models on record: listing and search, versions, cards, history, whether files are as they were registered."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request
from pydantic import BaseModel, Field
from starlette.responses import Response

from finetune30.api.answers import Json
from finetune30.api.context import Here, answer_slowly
from finetune30.api.model_schemas import (
    Alias,
    Card,
    EventList,
    Model,
    ModelList,
    Promotion,
    ServerList,
    Verified,
    Version,
)
from finetune30.api.schemas import errors
from finetune30.errors import NotFoundError
from finetune30.service.registry.promotion import find_alias, preview_promotion
from finetune30.service.registry.registering import load_card, verify_version
from finetune30.service.registry.search import ModelQuery, search_models
from finetune30.store.model_names import ModelReference
from finetune30.store.model_registry import find_events, find_model, find_version
from finetune30.store.servers import find_servers

router = APIRouter(prefix="/models", tags=["models"])

ModelName = Annotated[str, Path(max_length=63, examples=["reviews"])]
AliasName = Annotated[str, Path(max_length=63, examples=["production"])]
Number = Annotated[int, Path(ge=1, le=(1 << 31) - 1, description="Number of the version.", examples=[7])]
OF_ONE = errors(404, 409, 422)
_Text = Annotated[str | None, Field(max_length=200)]


class SearchQuery(BaseModel):
    """What a version must have, all of it."""

    base: _Text = Field(None, description="A part of the base model's name.")
    script: _Text = Field(None, description="A script of the evaluation rows: Latin, Han …")
    problem: _Text = Field(None, description="What it learnt, such as single_label_classification.")
    tag: _Text = Field(None, description="A tag of the run.")
    text: _Text = Field(None, description="Words in names of model, run, data, base and labels, or the run's note.")


@router.get("", summary="List and search models", response_model=ModelList, responses=errors(422))
def list_models(here: Here, query: Annotated[SearchQuery, Query()]) -> Response:
    """Every model with a version that has all that is asked for, and those versions."""
    return Json({"models": search_models(here.records, ModelQuery(**query.model_dump()))})


@router.get("/{name}", summary="A model", response_model=Model, responses=OF_ONE)
def read_model(here: Here, name: ModelName) -> Response:
    """Its versions, the newest first, and its aliases."""
    return Json(find_model(here.store, name).as_dict())


@router.get("/{name}/events", summary="History of a model", response_model=EventList, responses=OF_ONE)
def read_model_events(
    here: Here,
    name: ModelName,
    after: Annotated[int, Query(ge=0, le=(1 << 63) - 1, description="Only events with a greater number.")] = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 1000,
) -> Response:
    """Every change: who, when, why, and how what was promoted compared with what was there."""
    events = find_events(here.store, name, after=after, limit=limit)
    return Json({"events": [event.as_dict() for event in events]})


@router.get("/{name}/servers", summary="Servers of a model", response_model=ServerList, responses=OF_ONE)
def read_model_servers(here: Here, name: ModelName) -> Response:
    """The servers that run, and the version that each answers with under every name."""
    found = find_servers(here.store, find_model(here.store, name).name)
    return Json({"servers": [one.as_dict() for one in found]})


@router.get("/{name}/versions/{number}", summary="A version", response_model=Version, responses=OF_ONE)
def read_model_version(here: Here, name: ModelName, number: Number) -> Response:
    """What it was made of, addressed by content."""
    return Json(find_version(here.store, ModelReference(name, None, number)).as_dict())


@router.get("/{name}/versions/{number}/card", summary="Card of a version", response_model=Card, responses=OF_ONE)
def read_model_card(here: Here, name: ModelName, number: Number) -> Response:
    """Where it comes from, how good it is, what limits it; Markdown, made from the record."""
    version = find_version(here.store, ModelReference(name, None, number))
    return Json({"name": version.name, "markdown": load_card(here.records, version)})


@router.get("/{name}/versions/{number}/verify", summary="Verify a version", response_model=Verified, responses=OF_ONE)
async def verify_model_version(here: Here, name: ModelName, number: Number, request: Request) -> Response:
    """Hash every file again; 507 names those that are not as they were registered."""

    def look() -> Response:
        version = find_version(here.store, ModelReference(name, None, number))
        return Json({"name": version.name, "files": verify_version(here.records, version)})

    return await answer_slowly(request, look)


@router.get("/{name}/aliases/{alias}", summary="An alias", response_model=Alias, responses=OF_ONE)
def read_model_alias(here: Here, name: ModelName, alias: AliasName) -> Response:
    """Where it leads; the header ETag is its generation."""
    found = find_alias(find_model(here.store, name), alias)
    if found is None:
        raise NotFoundError(f"{name}@{alias[:63]} was never moved", f"see the model: GET /models/{name}")
    return Json(found.as_dict(), headers={"ETag": f'"{found.generation}"'})


@router.get(
    "/{name}/aliases/{alias}/preview",
    summary="What a promotion would change",
    response_model=Promotion,
    responses=OF_ONE,
)
async def preview_promotion_of_model(
    here: Here,
    name: ModelName,
    alias: AliasName,
    request: Request,
    version: Annotated[int, Query(ge=1, le=(1 << 31) - 1, examples=[7])],
) -> Response:
    """Where the alias leads now, and the paired test of the version against what is there; nothing is changed."""
    return await answer_slowly(request, lambda: Json(preview_promotion(here.records, name, version, alias).as_dict()))
