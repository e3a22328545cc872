"""Suspect labels: training rows that a finished model doubts."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from finetune30.api.answers import Json
from finetune30.api.context import Here
from finetune30.api.routes.experiments import ExperimentId
from finetune30.api.schemas import Tree, errors
from finetune30.service.suspects.search import SuspectSearches

router = APIRouter(prefix="/experiments", tags=["experiments"])


class SuspectSearch(BaseModel):
    """Who judges."""

    model_config = ConfigDict(extra="forbid")

    folds: int | None = Field(
        None,
        ge=2,
        le=20,
        description="Models that judge, each trained without the rows it judges; null: the run's own model.",
    )


class SuspectList(BaseModel):
    """State of the search, and once it is ready the rows in order of doubt."""

    state: Literal["none", "searching", "failed", "ready"]
    run_id: str
    error: Tree | None = Field(None, description="Why the search failed.")
    version: str | None = Field(None, description="Digest of the dataset version whose rows these are.")
    method: str | None = None
    folds: int | None = Field(
        None, description="Models that judged, each trained without its rows; null: the run's own."
    )
    rows: int | None = Field(None, description="Training rows that were judged.")
    suspects: int | None = Field(None, description="Rows whose label is probably wrong.")
    ranking: list[Tree] = Field(
        default=[],
        description="`row` is the index in the split train; `score` 0 is surely wrong, 1 surely right.",
        examples=[[{"row": 17, "text": "…", "label": "negative", "suggested_label": "positive", "score": 0.02}]],
    )


@router.post(
    "/{experiment_id}/suspects",
    summary="Search for suspect labels",
    status_code=202,
    response_model=SuspectList,
    responses=errors(404, 409, 422),
)
def search_suspects(
    here: Here, experiment_id: ExperimentId, request: Request, asked: SuspectSearch | None = None
) -> Response:
    """A process of its own asks about every training row; the newest finding is kept with the run."""
    run = here.store.get(experiment_id)
    searches: SuspectSearches = request.app.state.suspects
    searches.start(here.records, run, asked.folds if asked else None)
    request.state.target = run.id
    return Json(searches.load(here.records, run, 0, 0, everything=False), status_code=202)


@router.get(
    "/{experiment_id}/suspects", summary="Suspect labels", response_model=SuspectList, responses=errors(404, 409, 422)
)
def read_suspects(
    here: Here,
    experiment_id: ExperimentId,
    request: Request,
    offset: Annotated[int, Query(ge=0, le=(1 << 62))] = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    everything: Annotated[bool, Query(description="All rows in order of doubt, not only the suspects.")] = False,
) -> Response:
    """The state of the search, and its finding page by page."""
    searches: SuspectSearches = request.app.state.suspects
    return Json(searches.load(here.records, here.store.get(experiment_id), offset, limit, everything=everything))
