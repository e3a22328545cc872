"""Submitting runs and following them."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Header, Path, Request
from starlette.responses import Response, StreamingResponse

from finetune30 import failpoints
from finetune30.api.answers import Json
from finetune30.api.context import Here, Who
from finetune30.api.event_stream import EventStream
from finetune30.api.routes.experiments import ExperimentId, load_by_id
from finetune30.api.schemas import RUN_ID, TrainRequest, errors
from finetune30.api.task_schemas import Accepted, Task
from finetune30.service.submitting.limits import require_room
from finetune30.service.submitting.replay import submit_replay
from finetune30.service.submitting.requests import load_requested_config
from finetune30.service.submitting.status import load_task
from finetune30.service.submitting.submission import Submission, digest_request, retry_task, submit

router = APIRouter(tags=["tasks"])

#: One server-sent event.
_EVENT = {
    "type": "object",
    "properties": {
        "event": {"type": "string", "enum": ["task", "change", "end", "error"]},
        "id": {"type": "string", "description": "Number of a change."},
        "data": {"type": "string", "description": "JSON."},
        "retry": {"type": "integer"},
    },
}
TaskId = Annotated[str, Path(max_length=200, description="The task_id that POST /train gave.", examples=[RUN_ID])]


@router.post(
    "/train",
    summary="Submit a run",
    status_code=202,
    response_model=Accepted,
    responses=errors(404, 413, 415, 422, 429),
)
def train(
    here: Here,
    who: Who,
    body: TrainRequest,
    request: Request,
    idempotency_key: Annotated[
        str | None,
        Header(min_length=1, max_length=255, description="The same key and body give the same task."),
    ] = None,
) -> Response:
    """Validate completely, record durably, tell the workers. 202 means that the run will not be lost."""
    asked = body.model_dump(exclude_unset=True)
    loaded = load_requested_config(asked, here.settings)
    who.require_priority(body.priority, here.settings)
    require_room(here.store, here.settings, who.name, idempotency_key)
    done = submit(
        here.store,
        loaded.config,
        here.settings,
        publisher=here.publisher,
        explicit=loaded.explicit,
        priority=body.priority,
        idempotency_key=idempotency_key,
        request_sha256=digest_request(asked),
        submitted_by=who.name or None,
    )
    request.state.target = done.run.id
    failpoints.reach("submit.before_answer")
    return _accepted(done, loaded.notes)


@router.get("/task/{task_id}", summary="State of a task", response_model=Task, responses=errors(404, 422))
def read_task(here: Here, task_id: TaskId) -> Response:
    """State, queue position, progress, result or error."""
    return Json(load_task(here.store, task_id, here.settings.max_running_runs))


@router.get(
    "/task/{task_id}/events",
    summary="Follow a task",
    response_class=StreamingResponse,
    responses={200: {"content": {"text/event-stream": {"schema": _EVENT}}}, **errors(404, 422, 429)},
)
async def stream_events(
    here: Here,
    who: Who,
    task_id: TaskId,
    request: Request,
    last_event_id: Annotated[str | None, Header(max_length=40, description="Number of the last `change` seen.")] = None,
) -> Response:
    """Server-sent events: `task` (the state, whenever it differs), `change` (numbered, resumable), `end`."""
    stream: EventStream = request.app.state.event_stream
    return await stream.answer(here.store, task_id, last_event_id, who.name)


@router.post("/task/{task_id}/cancel", summary="Cancel a task", response_model=Task, responses=errors(404, 409, 422))
def cancel(here: Here, who: Who, task_id: TaskId, request: Request) -> Response:
    """Cancel a waiting run at once; ask a running one to stop at its next step."""
    run = load_by_id(here, task_id)
    who.require_own(run)
    request.state.target = run.id
    here.store.request_cancel(run.id)
    return Json(load_task(here.store, run.id, here.settings.max_running_runs))


@router.post(
    "/task/{task_id}/retry",
    summary="Try a task again",
    status_code=202,
    response_model=Accepted,
    responses=errors(404, 409, 422, 429),
)
def retry(here: Here, who: Who, task_id: TaskId, request: Request) -> Response:
    """Queue a FAILED or CANCELLED run again; it goes on from its last checkpoint."""
    run = load_by_id(here, task_id)
    who.require_own(run)
    require_room(here.store, here.settings, who.name)
    request.state.target = run.id
    return _accepted(
        retry_task(here.store, run.id, publisher=here.publisher, most_running=here.settings.max_running_runs)
    )


@router.post(
    "/experiments/{experiment_id}/replay",
    summary="Repeat a run",
    status_code=202,
    response_model=Accepted,
    responses=errors(404, 409, 422, 429),
)
def replay(
    here: Here,
    who: Who,
    experiment_id: ExperimentId,
    request: Request,
    idempotency_key: Annotated[
        str | None, Header(min_length=1, max_length=255, description="The same key gives the same task.")
    ] = None,
) -> Response:
    """Queue a repetition of a SUCCEEDED run from its record; `replay` of its details says whether it came out equal."""
    original = here.store.get(experiment_id)
    require_room(here.store, here.settings, who.name, idempotency_key)
    done = submit_replay(
        here.store,
        original,
        here.settings,
        publisher=here.publisher,
        priority=who.usual_priority(here.settings),
        idempotency_key=idempotency_key,
        submitted_by=who.name or None,
    )
    request.state.target = done.run.id
    return _accepted(done)


def _accepted(done: Submission, notes: tuple[str, ...] = ()) -> Response:
    run, task = done.run, f"/task/{done.run.id}"
    answer: dict[str, Any] = {
        "task_id": run.id,
        "experiment_id": run.id,
        "experiment_name": run.name,
        "status": str(run.status),
        "queue_position": done.queue_position,
        "folder": run.folder,
        "notes": [*notes, *done.notes],
        "links": {
            "task": task,
            "events": f"{task}/events",
            "cancel": f"{task}/cancel",
            "experiment": f"/experiments/{run.id}",
        },
    }
    return Json(answer, status_code=202, headers={"Location": task})
