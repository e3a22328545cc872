"""Sets of runs: seeds of one configuration, folds of its rows, a learning curve over shares of them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Request
from pydantic import BaseModel, Field, model_validator
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from finetune30.api.answers import Json
from finetune30.api.context import Here, Who
from finetune30.api.requested_data import ask_about_data
from finetune30.api.schemas import RUN_ID, TrainRequest, Tree, errors
from finetune30.service.sets.comparing import compare_sets
from finetune30.service.sets.handing_in import hand_in, write_set
from finetune30.service.sets.plans import restore_plan
from finetune30.service.sets.summary import describe_set
from finetune30.service.submitting.limits import require_room
from finetune30.store.run_sets import list_sets, load_set

router = APIRouter(prefix="/run-sets", tags=["experiments"])
SetId = Annotated[str, Path(max_length=200, description="Id of a set, its beginning, or its name.", examples=[RUN_ID])]
#: What a request has beside the configuration.
_OF_THE_SET = {"seeds", "folds", "repeats", "shares", "group_column"}


class RunSetRequest(TrainRequest):
    """A configuration as for POST /train, and the set to make of it."""

    seeds: int | None = Field(None, ge=1, le=100, description="Runs under training.seed, the next number, and so on.")
    folds: int | None = Field(None, ge=2, le=100, description="Parts of the rows; each is held out once a repeat.")
    repeats: int = Field(1, ge=1, le=50, description="Dealings into folds.")
    shares: list[float] | None = Field(
        None,
        min_length=2,
        max_length=20,
        description="Shares of the training rows, ascending, 0.5 and 1 among them: a learning curve with `seeds` runs "
        "on each.",
    )
    group_column: str | None = Field(
        None, max_length=200, description="As `data.group_column`: rows of one value share a fold, or a share."
    )

    @model_validator(mode="after")
    def _is_one_kind(self) -> RunSetRequest:
        if (self.seeds is None) == (self.folds is None):
            raise ValueError("give either seeds or folds")
        if self.shares is not None and self.seeds is None:
            raise ValueError("shares go with seeds, not with folds")
        return self


class RunSetSummary(BaseModel):
    """A set without its runs' scores."""

    id: str
    name: str
    purpose: Literal["seeds", "folds", "curve"]
    submitted_by: str
    created_at: str
    config: Tree
    dataset_digest: str = Field(description="The frozen version.")
    plan: list[Tree] = Field(
        description="number, seed, dataset_digest; of a fold repeat, fold; of a curve share, rows."
    )


class RunSetDetails(RunSetSummary):
    """A set with its runs and what they say together."""

    runs: list[Tree] = Field(description="The plan with run_id, name, status and score; null where not handed in.")
    summary: Tree | None = Field(
        description="mean, standard_deviation, interval with its method, power; of a curve points by share and the "
        "answer whether more rows would help; null: none yet."
    )
    said: list[str] = Field(default=[], description="What was said of the rows before the runs were handed in.")


@router.post(
    "",
    summary="Make a set of runs",
    status_code=202,
    response_model=RunSetDetails,
    responses=errors(404, 409, 413, 415, 422, 429),
)
async def make_run_set(here: Here, who: Who, body: RunSetRequest, request: Request) -> Response:
    """Freeze the rows as one version and hand the runs in. The same body gives the same set and doubles no run."""
    asked = body.model_dump(exclude_unset=True)
    wanted = {key: asked.pop(key) for key in _OF_THE_SET & asked.keys()}
    who.require_priority(body.priority, here.settings)
    told = await ask_about_data("run_set", asked, here.settings, request, wanted=wanted)

    def submit_all() -> dict[str, Any]:
        plan = restore_plan(told)
        require_room(here.store, here.settings, who.name, count=len(plan.entries))
        found = write_set(here.store, plan, who.name)
        request.state.target = found.id
        hand_in(here.store, found, here.settings, plan.explicit, publisher=here.publisher, priority=body.priority)
        return describe_set(here.records, found)

    described = await run_in_threadpool(submit_all)
    return Json({**described, "said": told["said"]}, status_code=202)


@router.get("", summary="Sets of runs", response_model=list[RunSetSummary], responses=errors(422))
def list_run_sets(here: Here, limit: Annotated[int, Query(ge=1, le=1000)] = 100) -> Response:
    """The newest first."""
    return Json([found.as_dict() for found in list_sets(here.store, limit)])


@router.get("/compare", summary="Compare two sets", response_model=Tree, responses=errors(404, 409, 422))
def compare_run_sets(here: Here, first: str, second: str) -> Response:
    """Whether two sets on the same rows, or the same folds, differ by more than chance."""
    return Json(compare_sets(here.records, load_set(here.store, first), load_set(here.store, second)))


@router.get("/{set_id}", summary="A set of runs", response_model=RunSetDetails, responses=errors(404, 409))
def read_run_set(here: Here, set_id: SetId) -> Response:
    """Its runs with their scores; mean, spread and interval of those that have finished."""
    return Json(describe_set(here.records, load_set(here.store, set_id)))
