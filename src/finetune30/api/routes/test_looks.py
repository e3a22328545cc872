"""Looks at the rows that are kept for a run's test."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field
from starlette.responses import Response

from finetune30.api.answers import Json
from finetune30.api.context import Here, Who
from finetune30.api.routes.experiments import ExperimentId
from finetune30.api.schemas import Tree, errors
from finetune30.service.testing.looking import LooksInWork

Against = Annotated[
    str | None, Query(description="Another run with the same test rows: an id, or what names one.", max_length=200)
]

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
    verdict: Tree | None = Field(
        description="How the run compares with another that was looked at together with it: a pair as "
        "`GET /experiments/compare` has it, with `names` and `looks` (the how manyth of each), by id."
    )


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
    responses=errors(400, 404, 409, 422),
)
def open_test_rows(
    here: Here, who: Who, experiment_id: ExperimentId, request: Request, against: Against = None
) -> Response:
    """Evaluate the run's model on the rows that are kept for its test; the look is counted before they are read.

    Of all who ask while one goes on, or at the same moment, one begins it. With `against` the test rows of another run
    are looked at, too, and both looks get the verdict whether one is better by more than chance.
    """
    run = here.store.get(experiment_id)
    other = None if against is None else here.store.get(against)
    for one in filter(None, (run, other)):
        who.require_own(one)
    looks: LooksInWork = request.app.state.test_looks
    looks.start(here.records, here.settings, run, who.name, other)
    request.state.target = run.id
    return Json(looks.load(here.records, run), status_code=202)


@router.get("/{experiment_id}/test", summary="Looks at the test rows", response_model=TestLooks, responses=errors(404))
def read_test_looks(here: Here, experiment_id: ExperimentId, request: Request) -> Response:
    """Every look so far, with its result; nothing is opened."""
    looks: LooksInWork = request.app.state.test_looks
    return Json(looks.load(here.records, here.store.get(experiment_id)))
