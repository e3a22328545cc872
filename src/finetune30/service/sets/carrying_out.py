"""Carrying a run that belongs to others out in this process; apart from handing in, which needs nothing heavy."""

from __future__ import annotations

from pathlib import Path

from finetune30 import failpoints
from finetune30.service.execution.local import carry_out_locally
from finetune30.service.runs.open_records import Records
from finetune30.service.sets.members import Member
from finetune30.settings import Settings
from finetune30.store import Run, RunStatus


def is_elsewhere(run: Run) -> bool:
    """Tell whether a process carries the run out, or workers are about to."""
    return run.status is RunStatus.RUNNING or (run.kind == "queued" and not run.status.is_final)


def carry_out_member(records: Records, member: Member, run: Run | None, settings: Settings, *, after_row: str) -> Run:
    """Make the run, or take the one there is up again, and carry it out in this process; return it.

    `after_row` names the fail point between the row and the training. Raises the Finetune30Error that ended it.
    """
    if run is None:
        run = records.store.create(
            member.config,
            kind="local",
            results_root=Path(records.results_root),
            idempotency_key=member.key,
            request_sha256=member.request_sha256,
            submitted_by=member.submitted_by or None,
            explicit=member.explicit,
            pause_at=member.pause_at,
        )
        failpoints.reach(after_row)
    elif run.status.is_final:
        run = records.store.retry(run.id, kind="local", pauses=True)
    carry_out_locally(records, run, settings, member.explicit)
    return records.store.get(run.id)
