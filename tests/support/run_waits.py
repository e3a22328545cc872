"""Waiting for a run: its state, and an end other than the one that is waited for, at once."""

from __future__ import annotations

from finetune30.store import Run, RunStatus, RunStore
from support.patience import wait_until


def wait_for_run(store: RunStore, run_id: str, statuses: tuple[RunStatus, ...], seconds: float) -> Run:
    """Wait until a run is in one of these states, and return it; fail when it ended in another one."""
    run = store.get(run_id)

    def look() -> bool:
        nonlocal run
        run = store.get(run_id)
        assert run.status in statuses or not run.status.is_final, f"it ended as {run.status}, not {statuses}: {run}"
        return run.status in statuses

    wait_until(look, seconds, lambda: f"run {run_id} is {statuses}, it is {run}")
    return run
