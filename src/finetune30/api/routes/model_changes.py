"""Changes of the registry: registering versions, moving aliases with If-Match, retiring."""

from __future__ import annotations

import re
from typing import Annotated

from fastapi import APIRouter, Header, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from finetune30.api.answers import Json
from finetune30.api.context import Here, Services, Who, answer_slowly
from finetune30.api.model_schemas import Moved, Promotion, Version
from finetune30.api.routes.models import OF_ONE, AliasName, ModelName, Number
from finetune30.api.schemas import RUN_ID, errors
from finetune30.errors import GenerationMissingError, UsageError
from finetune30.service.datasets.operations import versions_of
from finetune30.service.registry.checks import ChecksInWork
from finetune30.service.registry.promotion import promote, roll_back
from finetune30.service.registry.registering import register_run
from finetune30.store.model_registry import find_model, retire_version

router = APIRouter(prefix="/models", tags=["models"])

IfMatch = Annotated[
    str | None,
    Header(max_length=40, description="Generation of the alias that you saw, 0 for a new one.", examples=["3"]),
]
#: Answers of a move.
_OF_MOVE = errors(404, 409, 412, 422, 428)
_GENERATION = re.compile(r'"?(\d{1,9})"?')


class RunOfModel(BaseModel):
    """A finished run that becomes a version."""

    model_config = ConfigDict(extra="forbid")

    run: str = Field(max_length=200, description="As wherever a run is named.", examples=[RUN_ID])


class NewModel(RunOfModel):
    """A finished run that becomes a version of the named model."""

    name: str = Field(max_length=63, description="Lower-case letters, digits and . _ -", examples=["reviews"])


class Reason(BaseModel):
    """Why; it stays in the history."""

    model_config = ConfigDict(extra="forbid")

    reason: str = Field(min_length=1, max_length=2000, examples=["better on pairs of texts"])


class AliasMove(Reason):
    """The version that the alias shall lead to."""

    version: int = Field(ge=1, le=(1 << 31) - 1, examples=[7])


@router.post("", summary="Register a run", response_model=Version, status_code=201, responses={200: {}, **OF_ONE})
async def create_model(here: Here, who: Who, body: NewModel, request: Request) -> Response:
    """Make a version of a finished run; the first one makes the model. 200: the run is that version already.

    It is CHECKING until it has answered as its run predicted, then READY, else REFUSED.
    """
    return await answer_slowly(request, lambda: _register(here, who.label, body.name, body.run, request))


@router.post(
    "/{name}/versions",
    summary="Register a run as the next version",
    response_model=Version,
    status_code=201,
    responses={200: {}, **OF_ONE},
)
async def create_model_version(here: Here, who: Who, name: ModelName, body: RunOfModel, request: Request) -> Response:
    """Make the next version of a model that is there. 200: the run is that version already."""

    def make() -> Response:
        find_model(here.store, name)
        return _register(here, who.label, name, body.run, request)

    return await answer_slowly(request, make)


@router.put("/{name}/aliases/{alias}", summary="Promote a version", response_model=Promotion, responses=_OF_MOVE)
async def move_model_alias(
    here: Here, who: Who, name: ModelName, alias: AliasName, body: AliasMove, request: Request, if_match: IfMatch = None
) -> Response:
    """Let the alias lead to a version; its event keeps the paired test against what was there.

    412 when somebody moved it since the generation in If-Match. staging and production need the role promoter.
    """
    who.require_alias(alias)
    seen = _read_generation(if_match)
    request.state.target = f"{name}:{body.version} to {alias}"

    def change() -> Response:
        done = promote(here.records, name, body.version, alias, reason=body.reason, actor=who.label, seen=seen)
        return Json(done.as_dict(), headers={"ETag": f'"{seen + 1}"'})

    return await answer_slowly(request, change)


@router.post("/{name}/aliases/{alias}/rollback", summary="Roll an alias back", response_model=Moved, responses=_OF_MOVE)
def roll_model_alias_back(
    here: Here, who: Who, name: ModelName, alias: AliasName, body: Reason, request: Request, if_match: IfMatch = None
) -> Response:
    """Let the alias lead to the version that was there before the present one was promoted."""
    who.require_alias(alias)
    seen = _read_generation(if_match)
    request.state.target = f"{name}@{alias}"
    done = roll_back(here.records, name, alias, reason=body.reason, actor=who.label, seen=seen)
    answer = {"alias": done.alias.as_dict(), "from_version": done.from_version}
    return Json(answer, headers={"ETag": f'"{done.alias.generation}"'})


@router.post("/{name}/versions/{number}/retire", summary="Retire a version", response_model=Version, responses=OF_ONE)
def retire_model_version(
    here: Here, who: Who, name: ModelName, number: Number, body: Reason, request: Request
) -> Response:
    """Let no alias lead to it any more; 409 while one does. It stays on record."""
    request.state.target = f"{name}:{number}"
    return Json(retire_version(here.store, name, number, actor=who.label, reason=body.reason).as_dict())


def _register(here: Services, actor: str, name: str, run: str, request: Request) -> Response:
    made, is_new = register_run(here.records, run, name, versions_of(here.settings, here.store), actor=actor)
    checks: ChecksInWork = request.app.state.checks
    checks.start(made, actor)
    request.state.target = made.name
    place = f"/models/{made.model}/versions/{made.number}"
    return Json(made.as_dict(), status_code=201 if is_new else 200, headers={"Location": place})


def _read_generation(if_match: str | None) -> int:
    if if_match is None:
        raise GenerationMissingError(
            "moving an alias needs the header If-Match", "send the generation that GET /models/NAME tells, 0 for none"
        )
    found = _GENERATION.fullmatch(if_match.strip())
    if found is None:
        raise UsageError(f"If-Match: {if_match!r} is no generation", "send a number, as in If-Match: 3")
    return int(found[1])
