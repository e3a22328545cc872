"""Searches over configurations; their trials are runs that workers carry out."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from finetune30.api.answers import Json
from finetune30.api.context import Here, Who
from finetune30.api.requested_data import ask_about_data
from finetune30.api.schemas import RUN_ID, TrainRequest, Tree, errors
from finetune30.config.search_loading import validate_search
from finetune30.service.searches.changing import (
    USUAL_PRIORITY,
    begin_search,
    delete_search,
    require_kind,
    resume_search,
    stop_search,
    write_search,
)
from finetune30.service.searches.looks import SearchLooks
from finetune30.service.searches.luck import describe_luck
from finetune30.service.searches.plans import restore_plan
from finetune30.service.searches.standing import load_standing
from finetune30.service.searches.summary import describe_search, summarize_search
from finetune30.service.submitting.limits import require_room
from finetune30.store.searches import find_search, list_searches, load_search

router = APIRouter(prefix="/searches", tags=["experiments"])
SearchId = Annotated[
    str, Path(max_length=200, description="Id of a search, its beginning, or its name.", examples=[RUN_ID])
]


class SearchRequest(TrainRequest):
    """A configuration as for POST /train, which is trial 0, and the search over it."""

    search: Tree = Field(
        description="The section `search:` of a file: docs/searching.md.",
        examples=[
            {"trials": 20, "parameters": {"training.learning_rate": {"low": 1e-5, "high": 1e-3, "scale": "log"}}}
        ],
    )
    priority: int = Field(USUAL_PRIORITY, ge=-100, le=100, description="Of its runs; higher is earlier.")


class StopRequest(BaseModel):
    """How a search stops."""

    model_config = ConfigDict(extra="forbid")

    now: bool = Field(False, description="Cancel the trials that wait or train, too; resuming takes them up again.")


class ResumeRequest(BaseModel):
    """What a search may have more of."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    trials: int | None = Field(None, ge=1, le=1000, description="Trials in all; null: as before.")
    hours: float | None = Field(None, gt=0, le=100_000, description="Hours of training in all; null: as before.")
    disk_gb: float | None = Field(None, gt=0, le=1_000_000, description="Gigabytes in all; null: as before.")


class SearchSummary(BaseModel):
    """A search without its trials."""

    id: str
    name: str
    status: Literal["RUNNING", "STOPPED", "SUCCEEDED", "FAILED"]
    reason: str = Field(description="Why it ended, where it did not make all its trials.")
    kind: Literal["queued", "local"] = Field(description="Trials by workers, or at a terminal.")
    submitted_by: str
    priority: int
    created_at: str
    finished_at: str | None
    config: Tree = Field(description="Of trial 0, on the frozen version.")
    dataset_digest: str = Field(description="The frozen version.")
    spec: Tree = Field(description="The section `search:`.")
    metric: str = Field(examples=["eval_accuracy"])
    greater_is_better: bool
    counts: dict[str, int] = Field(description="Trials by state: OPEN, DONE, FAILED, CANCELLED, STOPPED.")


class SearchDetails(SearchSummary):
    """A search with its trials."""

    planned: int | None = Field(description="Trials that it is to make; null: until its hours are used.")
    size_bytes: int = Field(description="What the folders of its ended trials take.")
    hours: float = Field(description="Hours that its trials have trained, added up.")
    ends_at: str | None = Field(
        description="When the trials will have ended, at the pace of the last ten; null: not known."
    )
    trials: list[Tree] = Field(
        description="number, state, value, parameters, reused_from, reason, run_id, run_status, model_removed."
    )
    rungs: list[Tree] = Field(
        description="What was decided of trials on their way: number, rung, share, step, total_steps, value, verdict "
        "(promoted, stopped), reason, compared (rule, trials, level, slope, noise, expected, best, chance), decided_at."
    )
    best: Tree | None = Field(description="The best trial with a value, of equal ones the first; null: none yet.")
    end: Tree | None = Field(
        description="What is said of the best: tried, best, sets (repeats of trial 0 and of it), runs by status, "
        "verdict (evaluation rows: verdict, message, gain, p_value, rows_needed, luck, expected_luck, near) and tests "
        "(each opening of the test rows); null: trials are not over, or search.confirm.seeds is 0."
    )
    importance: dict[str, Tree] = Field(
        description="Of each parameter the share of the differences between trials, the line that chance rarely "
        "passes, and whether it stands_out; empty below 8 trials."
    )
    said: list[str] = Field(default=[], description="What was said of the rows before the search was made.")


class LuckPoint(BaseModel):
    """A point of the band."""

    tried: int
    reach: float = Field(description="What the best of so many settings as good as trial 0 rarely passes.")


class SearchLuck(BaseModel):
    """How far the best trial may lead trial 0 by luck alone."""

    default: float | None = Field(description="Value of trial 0; null: there is no band.")
    noise: float | None = Field(description="Standard deviation by chance of the value of one trial.")
    with_seeds: bool = Field(description="Whether what seeds move is in it: known once the end was judged.")
    band: list[LuckPoint] = Field(description="Passed in 5 of 100 searches whose settings are all equal.")
    reason: str = Field(description="Why there is no band.")


@router.post(
    "",
    summary="Start a search",
    status_code=202,
    response_model=SearchDetails,
    responses=errors(404, 409, 413, 415, 422, 429),
)
async def start_search(here: Here, who: Who, body: SearchRequest, request: Request) -> Response:
    """Freeze the rows as one version and hand the first trials in. The same body gives the same search."""
    asked = body.model_dump(exclude_unset=True)
    search = validate_search(asked.pop("search")).as_tree()
    priority = min(body.priority, who.highest_priority(here.settings)) if "priority" not in asked else body.priority
    who.require_priority(priority, here.settings)
    told = await ask_about_data("search", asked, here.settings, request, search=search)

    def begin() -> dict[str, Any]:
        plan = restore_plan(told)
        if find_search(here.store, plan.request_sha256, who.name) is None:
            require_room(here.store, here.settings, who.name, count=min(plan.search.window, plan.search.trials or 1000))
        found = write_search(here.store, plan, kind="queued", priority=priority, submitted_by=who.name)
        request.state.target = found.id
        begin_search(here.store, found, here.settings, here.publisher)
        return describe_search(here.store, found)

    described = await run_in_threadpool(begin)
    return Json({**described, "said": told["said"]}, status_code=202)


@router.get("", summary="Searches", response_model=list[SearchSummary], responses=errors(422))
def read_searches(here: Here, limit: Annotated[int, Query(ge=1, le=1000)] = 100) -> Response:
    """The newest first."""
    return Json([summarize_search(here.store, search) for search in list_searches(here.store, limit)])


@router.get("/{search_id}", summary="A search", response_model=SearchDetails, responses=errors(404, 409))
def read_search(here: Here, search_id: SearchId) -> Response:
    """Its trials with their values, the best of them, and how far it is."""
    return Json(describe_search(here.store, load_search(here.store, search_id)))


@router.get(
    "/{search_id}/luck", summary="Luck of the best trial", response_model=SearchLuck, responses=errors(404, 409, 500)
)
def read_luck(here: Here, search_id: SearchId) -> Response:
    """How far the best of so many settings that are all as good as trial 0 would lead it."""
    standing = load_standing(here.store, load_search(here.store, search_id).id)
    return Json(describe_luck(here.records, standing))


@router.post("/{search_id}/stop", summary="Stop a search", response_model=SearchDetails, responses=errors(404, 409))
def stop(here: Here, who: Who, search_id: SearchId, body: StopRequest, request: Request) -> Response:
    """Suggest nothing more; trials that wait or train go on, or are cancelled too."""
    search = load_search(here.store, search_id)
    who.require_own_search(search)
    request.state.target = search.id
    stop_search(here.store, search, now=body.now)
    return Json(describe_search(here.store, search))


@router.post(
    "/{search_id}/resume", summary="Resume a search", response_model=SearchDetails, responses=errors(404, 409, 422)
)
def resume(here: Here, who: Who, search_id: SearchId, body: ResumeRequest, request: Request) -> Response:
    """Go on, also for more trials, hours or space; the trials that there are stay what they are."""
    search = load_search(here.store, search_id)
    who.require_own_search(search)
    require_kind(search, "queued")
    request.state.target = search.id
    resume_search(here.store, search, **body.model_dump())
    return Json(describe_search(here.store, search))


@router.post(
    "/{search_id}/test",
    summary="Open the test rows of a search",
    status_code=202,
    response_model=SearchDetails,
    responses=errors(404, 409, 500),
)
def test_search(here: Here, who: Who, search_id: SearchId, request: Request) -> Response:
    """Judge all repeats of the best trial and of trial 0 on the test rows; look k counts k times against the best.

    It is counted before a row is read, and stands with the others in `end`: it `goes_on`, has an
    `ended_at`, or died. Of all who ask while one goes on, or at the same moment, one begins it.
    """
    search = load_search(here.store, search_id)
    who.require_own_search(search)
    request.state.target = search.id
    looks: SearchLooks = request.app.state.search_looks
    looks.start(here.records, here.settings, search, who.name)
    return Json(describe_search(here.store, search), status_code=202)


@router.delete("/{search_id}", summary="Delete a search", responses=errors(404, 409))
def delete(here: Here, who: Who, search_id: SearchId, request: Request) -> Response:
    """Remove a search that has stopped with all its runs and their folders; runs that must stay are `kept`."""
    search = load_search(here.store, search_id)
    who.require_own_search(search)
    request.state.target = search.id
    return Json({"deleted": search.id, "kept": delete_search(here.records, search)})
