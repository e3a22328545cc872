"""Looks at the rows that are kept for a run's test."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field
from starlette.responses import Response

from finetune30.api.answers import Json
from finetune30.api.context import Here, Who
from finetune30.api.routes.experiments import ExperimentId
from finetune30.api.schemas import Tree, errors
from finetune30.service.testing.looking import LooksInWork

router = APIRouter(prefix="/experiments", tags=["experiments"])


class TestLook(BaseModel):
    """One look: it counts from its beginning. Without result and error it `goes_on`, or died."""

    number: int
    run_id: str
    count: int = Field(description="The how manyth of the run, from 1.")
    opened_at: str
    opened_by: str = Field(description="Name of the key; empty: a person at the machine.")
    ended_at: str | None
    goes_on: bool = Field(description="Somebody reads the rows at present; false of one that died, soon after.")
    result: Tree | None = Field(description="rows, left_out, metrics, score, its interval and what was read.")
    error: Tree | None


class TestLooks(BaseModel):
    """State of the look under way, and every look so far."""

    state: Literal["none", "looking", "failed", "ready"]
    run_id: str
    looks: list[TestLook]
    error: Tree | None = Field(description="Why the last look failed.")


@router.post(
    "/{experiment_id}/test",
    summary="Open the test rows",
    status_code=202,
    response_model=TestLooks,
    responses=errors(404, 409),
)
def open_test_rows(here: Here, who: Who, experiment_id: ExperimentId, request: Request) -> Response:
    """Evaluate the run's model on the rows that are kept for its test; the look is counted before they are read.

    Of all who ask while one goes on, or at the same moment, one begins it.
    """
    run = here.store.get(experiment_id)
    who.require_own(run)
    looks: LooksInWork = request.app.state.test_looks
    looks.start(here.records, here.settings, run, who.name)
    request.state.target = run.id
    return Json(looks.load(here.records, run), status_code=202)


@router.get("/{experiment_id}/test", summary="Looks at the test rows", response_model=TestLooks, responses=errors(404))
def read_test_looks(here: Here, experiment_id: ExperimentId, request: Request) -> Response:
    """Every look so far, with its result; nothing is opened."""
    looks: LooksInWork = request.app.state.test_looks
    return Json(looks.load(here.records, here.store.get(experiment_id)))
