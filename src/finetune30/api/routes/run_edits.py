"""What people change on runs: name, note, tags, star, archived; and cancelling, deleting or marking many at once."""

from __future__ import annotations

from typing import Annotated, get_args

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field, model_validator
from starlette.responses import Response

from finetune30.api.access_gate import PROCESSING
from finetune30.api.answers import Json
from finetune30.api.context import Here, Who
from finetune30.api.routes.experiments import FullId, load_by_id
from finetune30.api.run_schemas import Experiment
from finetune30.api.schemas import RUN_ID, Error, Status, errors
from finetune30.service.runs.editing import MOST_AT_ONCE, Action, Edit, Marks, Outcome, apply_to_each
from finetune30.store import Run
from finetune30.store.access import complete_audit, record_audit
from finetune30.store.annotations import edit_run

router = APIRouter(prefix="/experiments", tags=["experiments"])

#: Shown of a run that was edited, as listings show it.
_UNSHOWN = frozenset({"config", "metrics"})


class EditRequest(Edit):
    """What to write on a run; what is left out stays as it is."""

    edits: int | None = Field(
        None, ge=0, description="`edits` of the run as you saw it: another edit since then is a 409, not overwritten."
    )


class BulkRequest(Marks):
    """One thing to do to many runs. `edit` writes the tags, star and archiving that are given."""

    action: Action = Field(examples=["edit"])
    ids: list[Annotated[str, Field(pattern="^[0-9a-f]{32}$", examples=[RUN_ID])]] = Field(
        min_length=1, max_length=MOST_AT_ONCE, description="Full ids."
    )

    @model_validator(mode="after")
    def _marks_belong_to_edits(self) -> BulkRequest:
        is_marked = bool(self.add_tags or self.remove_tags) or self.starred is not None or self.archived is not None
        if is_marked != (self.action == "edit"):
            raise ValueError("tags, star and archiving are for the action edit, which needs one of them")
        return self


class BulkOutcome(BaseModel):
    """What came of one run."""

    id: str = Field(examples=[RUN_ID])
    name: str | None = Field(examples=["test_async"])
    outcome: Outcome = Field(description="unchanged: it was so already, or is gone.")
    status: Status | None = Field(description="Afterwards; null for a run that is gone.")
    error: Error | None = Field(description="Why it was refused.")


class BulkAnswer(BaseModel):
    """What came of each run, in the order of the ids, and how often each outcome."""

    runs: list[BulkOutcome]
    done: int
    unchanged: int
    refused: int


@router.patch("/{experiment_id}", summary="Edit a run", response_model=Experiment, responses=errors(404, 409, 422))
def edit_experiment(here: Here, who: Who, experiment_id: FullId, body: EditRequest, request: Request) -> Response:
    """Rename it, write a note, give tags or a star, archive it, in any state. Its folder and configuration stay."""
    run = load_by_id(here, experiment_id)
    who.require_own(run)
    request.state.target = run.id
    edited, _ = edit_run(here.store, run.id, body.as_edit(), seen=body.edits, by=who.label)
    return Json({key: value for key, value in edited.as_dict().items() if key not in _UNSHOWN})


@router.post("/bulk", summary="Change many runs", response_model=BulkAnswer, responses=errors(422))
def change_many(here: Here, who: Who, body: BulkRequest, request: Request) -> Response:
    """Cancel, delete or mark up to 500 runs; each has an answer of its own, and asking again does no harm."""
    request.state.target = f"{body.action} {len(body.ids)} runs"
    entries: dict[str, int] = {}

    def enter(run: Run) -> None:
        """Let the caller change this run, and say so in the audit trail before it is changed."""
        client = request.client.host if request.client else ""
        entries[run.id] = record_audit(
            here.store,
            **_entry(body.action, run.id),
            outcome=PROCESSING,
            client=client,
            actor=who.label,
            role=str(who.role),
        )
        who.require_own(run)

    answers = []
    for answer in apply_to_each(here.records, body.ids, body.action, body.as_edit(), by=who.label, allow=enter):
        answers.append(answer)
        if number := entries.get(answer.id):
            outcome = answer.error.http_status if answer.error else 200
            complete_audit(here.store, number, **_entry(body.action, answer.id), outcome=outcome)
    counts = {outcome: sum(answer.outcome == outcome for answer in answers) for outcome in get_args(Outcome)}
    return Json({"runs": [answer.as_dict() for answer in answers], **counts})


def _entry(action: Action, run_id: str) -> dict[str, str]:
    return {"action": f"POST /experiments/bulk {action}", "target": run_id}
