"""What the store hands out: runs, claims, leases, events, filters. Plain frozen values, no database behind them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Literal


class RunStatus(StrEnum):
    """The states of a run."""

    QUEUED = "QUEUED"
    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    PAUSED = "PAUSED"  # waits for a decision, not for a place; see `stored`

    @property
    def stored(self) -> RunStatus:
        """How the state stands in `runs.status` and in events: releases before r0017 do not know PAUSED.

        `runs.paused_at` tells it from CANCELLED: it is `finished_at` then.
        """
        return RunStatus.CANCELLED if self is RunStatus.PAUSED else self

    @property
    def is_final(self) -> bool:
        """Whether no attempt will change the run by itself any more."""
        return self in (RunStatus.SUCCEEDED, RunStatus.FAILED, RunStatus.CANCELLED)


RunKind = Literal["local", "queued"]
SortKey = Literal["created_at", "name", "train_runtime", "score", "eval_accuracy"]

#: Attempts that may be lost to machine faults before a queued run counts as FAILED.
MAX_LOST_ATTEMPTS = 3


def utc_now() -> datetime:
    """Return the present moment as an aware UTC datetime."""
    return datetime.now(UTC)


@dataclass(frozen=True)
class Run:
    """One run as its row tells it; `folder` is relative to the results folder."""

    id: str
    name: str
    status: RunStatus
    kind: RunKind
    attempt: int
    failures: int
    lease_owner: str | None
    lease_until: datetime | None
    cancel_requested: bool
    priority: int
    folder: str
    config: dict[str, Any]
    config_digest: str
    model_name: str | None
    dataset_name: str | None
    dataset_digest: str | None
    device: str | None
    precision: str | None
    created_at: datetime
    queued_at: datetime
    published_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None
    train_runtime: float | None
    eval_accuracy: float | None
    eval_f1: float | None
    eval_loss: float | None
    metrics: dict[str, Any] | None
    error: dict[str, Any] | None
    progress: dict[str, Any] | None
    manifest_sha256: str | None
    submitted_by: str | None
    idempotency_key: str | None
    request_sha256: str | None
    explicit_keys: list[str] | None
    score: float | None
    score_name: str | None
    score_greater_is_better: bool | None
    score_format: str | None
    note: str
    tags: tuple[str, ...]
    starred: bool
    archived: bool
    edits: int
    places: int
    pause_at: float | None
    paused_at: datetime | None
    paused: dict[str, Any] | None

    @property
    def stand_ins(self) -> dict[str, Any]:
        """What stands in for a default out of reach (`replaced`: name -> what is used) and the settings that came.

        Told by the metrics, else (also where those were not asked for) by the progress.
        """
        told = next((tree for tree in (self.metrics, self.progress) if tree and "replaced" in tree), {})
        return {key: told.get(key) or {} for key in ("replaced", "replaced_settings")}

    def as_dict(self, leaving_out: Sequence[str] = ()) -> dict[str, Any]:
        """Return JSON-ready values: ISO 8601 UTC times, without idempotency and request fields."""
        hidden = _HIDDEN.union(leaving_out)
        shown: dict[str, Any] = {
            key: value.isoformat() if isinstance(value, datetime) else value
            for key, value in vars(self).items()
            if key not in hidden
        }
        return shown | {"tags": list(self.tags), **self.stand_ins}


_HIDDEN = frozenset({"idempotency_key", "request_sha256", "published_at", "explicit_keys", "pause_at", "paused_at"})


@dataclass(frozen=True)
class Claim:
    """The right of one attempt to carry a run out; `attempt` is the fencing token."""

    run_id: str
    attempt: int
    owner: str


@dataclass(frozen=True)
class Lease:
    """Answer to a renewal: whether the attempt still holds the run, and whether it was asked to stop."""

    held: bool
    cancel_requested: bool


@dataclass(frozen=True)
class RunEvent:
    """One change of a run; `number` grows within a run in the order in which the changes became visible."""

    number: int
    run_id: str
    at: datetime
    kind: str
    attempt: int
    from_status: RunStatus | None
    to_status: RunStatus | None
    owner: str | None
    detail: dict[str, Any] | None

    def as_dict(self) -> dict[str, Any]:
        """Return JSON-ready values."""
        return {**vars(self), "at": self.at.isoformat()}


@dataclass(frozen=True)
class Change:
    """What reconciliation did to one run."""

    run_id: str
    attempt: int
    to_status: RunStatus
    reason: str


@dataclass(frozen=True)
class RunFilter:
    """Which runs, in which order, which page.

    `name` is matched without case, every word of it anywhere in the name. Bounds keep only runs that have the value;
    those of the score compare numbers whatever the score is, so `score_name` belongs to them. Dates are aware
    datetimes, `start_date` inclusive, `end_date` exclusive. `score_name`, `model_name` and `dataset_digest` are
    compared whole. A run is kept that has every one of `tags`; `starred` and `archived` None keep both kinds.

    By `score`, runs of one score stand together, `descending` the better ones first, whether greater or less is better.
    Without `with_config` the runs come with an empty configuration, without `with_metrics` with none, in less time.
    """

    name: str | None = None
    statuses: frozenset[RunStatus] = frozenset()
    min_score: float | None = None
    max_score: float | None = None
    score_name: str | None = None
    min_accuracy: float | None = None
    max_runtime_seconds: float | None = None
    start_date: datetime | None = None
    end_date: datetime | None = None
    model_name: str | None = None
    dataset_digest: str | None = None
    tags: frozenset[str] = frozenset()
    starred: bool | None = None
    archived: bool | None = None
    sort_by: SortKey = "created_at"
    descending: bool = True
    limit: int = 50
    cursor: str | None = None
    with_config: bool = True
    with_metrics: bool = True


@dataclass(frozen=True)
class RunPage:
    """One page of runs; `next_cursor` is None on the last one."""

    runs: list[Run]
    next_cursor: str | None


@dataclass(frozen=True)
class BestRun:
    """The best run of one data version by one score, in the direction of that score; the newest of equals."""

    dataset_digest: str
    dataset_name: str | None
    score_name: str
    score: float
    score_greater_is_better: bool
    score_format: str | None
    run_id: str
    run_name: str

    def as_dict(self) -> dict[str, Any]:
        """Return JSON-ready values."""
        return dict(vars(self))


@dataclass(frozen=True)
class RunStats:
    """Totals over all runs; accuracy and runtime are those of SUCCEEDED runs, seconds and 0-1.

    `best` are the best runs of the data versions and scores used last, the latest first, without archived ones.
    `best_accuracy` is the greatest over all data. `tags` counts the runs that have each.
    """

    total: int
    by_status: Mapping[str, int]
    mean_accuracy: float | None
    best_accuracy: float | None
    best_run_id: str | None
    mean_runtime_seconds: float | None
    total_runtime_seconds: float
    last_30_days: Mapping[str, int] = field(default_factory=dict)  # "YYYY-MM-DD" (UTC) -> runs created
    best: tuple[BestRun, ...] = ()
    archived: int = 0
    tags: Mapping[str, int] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Return JSON-ready values."""
        tree = {key: dict(value) if isinstance(value, Mapping) else value for key, value in vars(self).items()}
        return {**tree, "best": [best.as_dict() for best in self.best]}
