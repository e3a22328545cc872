"""Mirrors: which trackers are followed and how far they are; taking runs, or a whole mirror, off them."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Request
from pydantic import BaseModel, Field
from starlette.responses import Response

from finetune30.api.answers import Json
from finetune30.api.context import Here, Services, Who
from finetune30.api.routes.experiments import FullId, load_by_id
from finetune30.api.schemas import RUN_ID, Moment, Tree, errors
from finetune30.errors import NotFoundError
from finetune30.settings import MIRRORS
from finetune30.store.mirrors import describe_cursors, load_mirrors, stop_carrying, stop_following

router = APIRouter(tags=["experiments"])

MirrorName = Annotated[str, Path(max_length=16, description="As in FT30_MIRRORS.", examples=["mlflow"])]


class Followed(BaseModel):
    """A tracker to which runs are carried by themselves."""

    name: str = Field(examples=["tensorboard"])
    since: Moment
    is_followed: bool = Field(description="Whether a process (`ft30 mirrors`) does so now.")
    seen_at: Moment | None = Field(description="When one last said so.")
    looked_at: Moment | None
    behind: int = Field(description="Runs that it does not know in full.", examples=[0])
    refused: int = Field(description="Those of them that it refuses.", examples=[0])
    error: str | None = Field(description="Why it was out of reach in the last look.")
    fault: str | None = Field(description="What ended its thread by itself the last time; it was begun again.")
    fault_at: Moment | None


class FollowedList(BaseModel):
    """All that are followed, by name."""

    mirrors: list[Followed]


class RunMirrors(BaseModel):
    """How far each tracker knows a run."""

    id: str = Field(examples=[RUN_ID])
    mirrors: list[Tree] = Field(
        description="`mirror`, `target`, `records`, `complete`, `error`, `stopped_at`: as a run has them."
    )


@router.get("/mirrors", summary="Mirrors that are followed", response_model=FollowedList, responses=errors())
def list_mirrors(here: Here) -> Response:
    """How far they are, whether a process follows them, and what went wrong."""
    return Json({"mirrors": [state.as_dict() for state in load_mirrors(here.store)]})


@router.delete("/mirrors/{mirror}", summary="Follow a mirror no longer", status_code=204, responses=errors(404, 422))
def stop_mirror(here: Here, mirror: MirrorName, request: Request) -> Response:
    """Let no run be carried there by itself, until `ft30 mirrors` is started anew. What is there stays."""
    request.state.target = mirror
    stop_following(here.store, mirror)
    return Response(status_code=204)


@router.delete(
    "/experiments/{experiment_id}/mirrors/{mirror}",
    summary="Carry a run no longer",
    response_model=RunMirrors,
    responses=errors(404, 422),
)
def stop_mirror_of_run(here: Here, who: Who, experiment_id: FullId, mirror: MirrorName, request: Request) -> Response:
    """Let the run be carried to this tracker no longer; what is there stays."""
    return _change(here, who, experiment_id, mirror, request, stopped=True)


@router.post(
    "/experiments/{experiment_id}/mirrors/{mirror}",
    summary="Carry a run again",
    response_model=RunMirrors,
    responses=errors(404, 422),
)
def mirror_run(here: Here, who: Who, experiment_id: FullId, mirror: MirrorName, request: Request) -> Response:
    """Let the run be carried to this tracker, also one of before it was followed: `ft30 mirrors` does it next."""
    return _change(here, who, experiment_id, mirror, request, stopped=False)


def _change(here: Services, who: Who, run_id: str, mirror: str, request: Request, *, stopped: bool) -> Response:
    run = load_by_id(here, run_id)
    who.require_own(run)
    if mirror not in MIRRORS:
        raise NotFoundError(f"there is no tracker {mirror!r}", f"those that there are: {', '.join(MIRRORS)}")
    request.state.target = f"{run.id} to {mirror}"
    stop_carrying(here.store, run.id, mirror, stopped=stopped)
    return Json({"id": run.id, "mirrors": describe_cursors(here.store, run)})
