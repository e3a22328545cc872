"""The state of the whole service at one moment: what is up, what waits, who works on what."""

from __future__ import annotations

from typing import Any

from finetune30.store import RunFilter, RunStatus, RunStore
from finetune30.store.workers import load_workers

_SHOWN_RUNS = 100


def load_overview(store: RunStore) -> dict[str, Any]:
    """Return counts of runs by state, the length of the queue, and the workers with the runs that they carry out.

    Of each worker `slots` are its places, `busy` the number of them that its runs take, `places` of a run its own.
    """
    is_running = frozenset({RunStatus.RUNNING})
    running = store.find(RunFilter(statuses=is_running, limit=_SHOWN_RUNS, with_config=False, with_metrics=False))
    by_status = {str(status): store.count(RunFilter(statuses=frozenset({status}))) for status in RunStatus}
    busy = store.busy_places()
    workers = []
    for worker in load_workers(store):
        held = [_describe(run.as_dict()) for run in running if run.lease_owner == worker.owner]
        workers.append({**worker.as_dict(), "busy": busy.get(worker.owner, 0), "runs": held})
    known = {worker["owner"] for worker in workers}
    elsewhere = [_describe(run.as_dict()) for run in running if run.lease_owner not in known]
    return {"runs": by_status, "queued": by_status["QUEUED"], "workers": workers, "other_running": elsewhere}


def _describe(run: dict[str, Any]) -> dict[str, Any]:
    percent = (run["progress"] or {}).get("percent")
    told = ("id", "name", "kind", "attempt", "places")
    return {**{key: run[key] for key in told}, "percent": percent}
