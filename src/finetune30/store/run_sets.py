"""Run sets: what a set is made of, written before its first run; its runs are found by their idempotency keys.

The same request gives the same set, and each planned run has a key of its own, so that a set which was handed in only
in part is completed by handing it in again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import Row

from finetune30.errors import ConflictError, NotFoundError
from finetune30.store.records import Run
from finetune30.store.run_groups import find_by_request, find_candidates, list_newest, record_once, runs_by_key
from finetune30.store.run_store import RunStore
from finetune30.store.tables import run_sets
from finetune30.values import say_count

Purpose = Literal["seeds", "folds", "curve"]


@dataclass(frozen=True)
class RunSet:
    """A set as its row tells it.

    `config` is the configuration of all runs, `plan` a tree for each of them: `number` (from 1) and what is its own,
    `seed`, `dataset_digest`, of a fold `fold` and `repeat` (from 1), of a learning curve `share` of the training rows
    (0-1) and how many `rows` these are. `dataset_digest` is the frozen version.
    """

    id: str
    name: str
    purpose: Purpose
    request_sha256: str
    submitted_by: str
    created_at: datetime
    config: dict[str, Any]
    dataset_digest: str
    plan: list[dict[str, Any]]

    def key_of(self, number: int) -> str:
        """Return the idempotency key of a planned run."""
        return f"set:{self.id}:{number}"

    def as_dict(self) -> dict[str, Any]:
        """Return a JSON tree."""
        names = ("id", "name", "purpose", "submitted_by", "config", "dataset_digest", "plan")
        return {**{name: getattr(self, name) for name in names}, "created_at": self.created_at.isoformat()}


def record_set(
    store: RunStore,
    *,
    name: str,
    purpose: Purpose,
    request_sha256: str,
    config: Mapping[str, Any],
    dataset_digest: str,
    plan: Sequence[Mapping[str, Any]],
    submitted_by: str = "",
) -> RunSet:
    """Write a set and return it; one that was written before for the same request is returned instead."""
    values = {
        "name": name,
        "purpose": purpose,
        "request_sha256": request_sha256,
        "submitted_by": submitted_by,
        "config": dict(config),
        "dataset_digest": dataset_digest,
        "plan": [dict(entry) for entry in plan],
    }
    return _set(record_once(store, run_sets, values))


def find_set(store: RunStore, request_sha256: str, submitted_by: str = "") -> RunSet | None:
    """Return the set of a request, None where there is none."""
    row = find_by_request(store, run_sets, request_sha256, submitted_by)
    return None if row is None else _set(row)


def load_set(store: RunStore, reference: str) -> RunSet:
    """Return a set by id, the beginning of one, or name (the newest). Raises NotFoundError, ConflictError."""
    near = find_candidates(store, run_sets, reference)
    if len(near) > 1:
        raise ConflictError(f"{say_count(len(near), 'sets begin')} with {reference!r}", "write more digits of the id")
    if not near:
        raise NotFoundError(f"there is no set of runs {reference!r}", "list them with: ft30 sets list")
    return _set(near[0])


def list_sets(store: RunStore, limit: int = 100) -> list[RunSet]:
    """Return the newest sets, the newest first."""
    return [_set(row) for row in list_newest(store, run_sets, limit)]


def runs_of(store: RunStore, found: RunSet) -> dict[int, Run]:
    """Return the runs of a set by their numbers in the plan; those that are not handed in, or deleted, are missing."""
    numbers = {found.key_of(entry["number"]): int(entry["number"]) for entry in found.plan}
    return runs_by_key(store, numbers, found.submitted_by)


def _set(row: Row[Any]) -> RunSet:
    names = (
        "id",
        "name",
        "purpose",
        "request_sha256",
        "submitted_by",
        "created_at",
        "config",
        "dataset_digest",
        "plan",
    )
    return RunSet(*(getattr(row, name) for name in names))
