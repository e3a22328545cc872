"""Searches and their trials: rows that are written before anything trains, and results that are written once.

A trial's number is its place; two processes that write the same one at the same moment have computed the same, and the
second changes nothing. Its run is found by an idempotency key, as those of sets are.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import Row, exists, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from finetune30.errors import ConflictError, NotFoundError
from finetune30.store.database import reading, writing
from finetune30.store.records import Run, RunKind
from finetune30.store.run_groups import find_by_request, find_candidates, list_newest, record_once, runs_by_key
from finetune30.store.run_store import RunStore
from finetune30.store.search_members import key_of_trial
from finetune30.store.search_tables import search_ends, search_rungs, search_tests, search_trials, searches
from finetune30.store.tables import run_sets
from finetune30.values import say_count


class SearchStatus(StrEnum):
    """The states of a search; all but RUNNING make no further suggestion, until it is resumed."""

    RUNNING = "RUNNING"
    STOPPED = "STOPPED"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"


class TrialState(StrEnum):
    """The states of a trial: OPEN until its run has ended for good, or was stopped at a rung."""

    OPEN = "OPEN"
    DONE = "DONE"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    STOPPED = "STOPPED"  # in the row CANCELLED with `stopped_at`, since releases before r0017 do not know it


@dataclass(frozen=True)
class Search:
    """A search as its row tells it; `config` is that of trial 0, `spec` the section `search:`."""

    id: str
    name: str
    status: SearchStatus
    reason: str
    kind: RunKind
    request_sha256: str
    submitted_by: str
    priority: int
    created_at: datetime
    finished_at: datetime | None
    config: dict[str, Any]
    explicit_keys: list[str]
    dataset_digest: str
    spec: dict[str, Any]
    metric: str
    greater_is_better: bool
    failures_from: int

    def as_dict(self) -> dict[str, Any]:
        """Return a JSON tree."""
        names = (
            *("id", "name", "reason", "kind", "submitted_by", "priority", "config", "dataset_digest", "spec"),
            *("metric", "greater_is_better"),
        )
        return {
            **{name: getattr(self, name) for name in names},
            "status": str(self.status),
            "created_at": self.created_at.isoformat(),
            "finished_at": None if self.finished_at is None else self.finished_at.isoformat(),
        }


@dataclass(frozen=True)
class Trial:
    """A trial as its row tells it."""

    search_id: str
    number: int
    labels: dict[str, Any] | None
    parameters: dict[str, Any]
    reused_from: int | None
    versions: dict[str, str]
    state: TrialState
    value: float | None
    reason: str
    size_bytes: int | None
    model_removed: bool
    created_at: datetime
    finished_at: datetime | None
    stopped_at: float | None


def record_search(store: RunStore, values: Mapping[str, Any]) -> Search:
    """Write a search, RUNNING, and return it; one that was written before for the same request is returned instead."""
    begun = {"status": SearchStatus.RUNNING, "reason": "", "failures_from": 0}
    return _search(record_once(store, searches, {**values, **begun}))


def find_search(store: RunStore, request_sha256: str, submitted_by: str = "") -> Search | None:
    """Return the search of a request, None where there is none."""
    row = find_by_request(store, searches, request_sha256, submitted_by)
    return None if row is None else _search(row)


def load_search(store: RunStore, reference: str) -> Search:
    """Return a search by id, the beginning of one, or name (the newest). Raises NotFoundError, ConflictError."""
    near = find_candidates(store, searches, reference)
    if len(near) > 1:
        raise ConflictError(
            f"{say_count(len(near), 'searches begin')} with {reference!r}", "write more digits of the id"
        )
    if not near:
        raise NotFoundError(f"there is no search {reference!r}", "list them with: ft30 search list")
    return _search(near[0])


def list_searches(store: RunStore, limit: int = 100) -> list[Search]:
    """Return the newest searches, the newest first."""
    return [_search(row) for row in list_newest(store, searches, limit)]


def list_driven(store: RunStore) -> list[Search]:
    """Return the searches that workers look after, the oldest first.

    Those that go on, and those with open trials, an end of which nothing is said yet, or test rows that are still to
    be opened (`search_ends.is_untested`).
    """
    is_open = exists().where(search_trials.c.search_id == searches.c.id, search_trials.c.state == TrialState.OPEN)
    is_unjudged = exists().where(search_ends.c.search_id == searches.c.id, search_ends.c.judged_at.is_(None))
    is_tested = exists().where(search_tests.c.search_id == searches.c.id)
    is_judged = exists().where(
        search_ends.c.search_id == searches.c.id,
        search_ends.c.judged_at.is_not(None),
        search_ends.c.left_unopened.is_(None),
    )
    goes_on = or_(searches.c.status == SearchStatus.RUNNING, is_open, is_unjudged, is_judged & ~is_tested)
    wanted = (searches.c.kind == "queued") & goes_on
    with reading(store.engine) as connection:
        query = select(searches).where(wanted).order_by(searches.c.created_at, searches.c.id)
        return [_search(row) for row in connection.execute(query)]


def change_search(store: RunStore, search_id: str, *statuses: SearchStatus, **values: Any) -> bool:
    """Change a search that has one of the statuses; tell whether it had. A status that is no RUNNING ends it."""
    guarded = (searches.c.id == search_id) & searches.c.status.in_(statuses)
    with writing(store.engine) as connection:
        if "status" in values:
            is_over = values["status"] is not SearchStatus.RUNNING
            values["finished_at"] = store.now(connection) if is_over else None
        return connection.execute(update(searches).where(guarded).values(**values)).rowcount == 1


def record_trial(store: RunStore, search_id: str, number: int, **values: Any) -> bool:
    """Write a trial of a RUNNING search, OPEN; False where it is written already, or the search does not go on."""
    row = {"search_id": search_id, "number": number, "state": TrialState.OPEN, "reason": "", "model_removed": False}
    row |= values
    try:
        with writing(store.engine) as connection:
            going = select(searches.c.status).where(searches.c.id == search_id).with_for_update()
            if connection.execute(going).scalar() != SearchStatus.RUNNING:
                return False
            connection.execute(insert(search_trials).values(**row, created_at=store.now(connection)))
    except IntegrityError:  # somebody else was faster, and has suggested the same
        return False
    return True


def finish_trial(
    store: RunStore,
    trial: Trial,
    state: TrialState,
    value: float | None = None,
    reason: str = "",
    *,
    size_bytes: int | None = None,
    going: bool = False,
    stopped_at: float | None = None,
) -> bool:
    """Write what came of an OPEN trial; False where it is written already.

    `going`: only while its search is RUNNING. `stopped_at`: the share of its steps at which it was STOPPED.
    """
    guarded = (
        (search_trials.c.search_id == trial.search_id)
        & (search_trials.c.number == trial.number)
        & (search_trials.c.state == TrialState.OPEN)
    )
    if going:
        guarded &= exists().where(searches.c.id == trial.search_id, searches.c.status == SearchStatus.RUNNING)
    with writing(store.engine) as connection:
        ended: dict[str, Any] = {"state": state, "value": value, "reason": reason, "size_bytes": size_bytes}
        if state is TrialState.STOPPED:
            ended |= {"state": TrialState.CANCELLED, "stopped_at": stopped_at}
        ended["finished_at"] = store.now(connection)
        return connection.execute(update(search_trials).where(guarded).values(**ended)).rowcount == 1


def note_removal(store: RunStore, trial: Trial, size_bytes: int) -> None:
    """Write that the model of a trial is gone, and what its folder takes since."""
    its = (search_trials.c.search_id == trial.search_id) & (search_trials.c.number == trial.number)
    with writing(store.engine) as connection:
        connection.execute(update(search_trials).where(its).values(model_removed=True, size_bytes=size_bytes))


def list_trials(store: RunStore, search_id: str) -> list[Trial]:
    """Return the trials of a search by number: all from 0 on, without a gap."""
    query = select(search_trials).where(search_trials.c.search_id == search_id).order_by(search_trials.c.number)
    with reading(store.engine) as connection:
        return [_trial(row) for row in connection.execute(query)]


def runs_of_trials(store: RunStore, search: Search, numbers: Iterable[int]) -> dict[int, Run]:
    """Return the runs of trials by number; those that are not handed in are missing."""
    by_key = {key_of_trial(search.id, number): number for number in numbers}
    return runs_by_key(store, by_key, search.submitted_by)


def remove_search(store: RunStore, search_id: str) -> None:
    """Remove a search, its trials, ends and their sets from the record; its runs are any runs from then on."""
    its = search_ends.c.search_id == search_id
    with writing(store.engine) as connection:
        for column in (search_ends.c.default_set, search_ends.c.best_set):
            connection.execute(run_sets.delete().where(run_sets.c.id.in_(select(column).where(its))))
        connection.execute(search_ends.delete().where(its))
        connection.execute(search_tests.delete().where(search_tests.c.search_id == search_id))
        connection.execute(searches.delete().where(searches.c.id == search_id))
        connection.execute(search_trials.delete().where(search_trials.c.search_id == search_id))
        connection.execute(search_rungs.delete().where(search_rungs.c.search_id == search_id))


def _search(row: Row[Any]) -> Search:
    return Search(**{**row._mapping, "status": SearchStatus(row.status)})


def _trial(row: Row[Any]) -> Trial:
    state = TrialState.STOPPED if row.stopped_at is not None else TrialState(row.state)
    return Trial(**{**row._mapping, "state": state})
