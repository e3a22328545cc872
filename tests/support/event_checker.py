"""An independent judge of what happened: reads events and rows with SQL of its own, and the run folders.

It shares no code with the store. `check` returns every breach of the promises: a run that is lost, recorded twice,
moved in a way that states do not allow, or changed by an attempt that did not hold it.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, create_engine, text

ALLOWED = {
    ("created", None, "QUEUED"),
    ("claimed", "QUEUED", "RUNNING"),
    ("described", "RUNNING", "RUNNING"),
    ("cancel_requested", "RUNNING", "RUNNING"),
    ("succeeded", "RUNNING", "SUCCEEDED"),
    ("failed", "RUNNING", "FAILED"),
    ("cancelled", "RUNNING", "CANCELLED"),
    ("cancelled", "QUEUED", "CANCELLED"),
    ("released", "RUNNING", "QUEUED"),
    ("lost", "RUNNING", "QUEUED"),
    ("lost", "RUNNING", "FAILED"),
    ("lost", "RUNNING", "CANCELLED"),
    ("retried", "FAILED", "QUEUED"),
    ("retried", "CANCELLED", "QUEUED"),
    ("paused", "RUNNING", "CANCELLED"),  # PAUSED stands as CANCELLED in the record
    ("promoted", "CANCELLED", "QUEUED"),
    ("stopped", "CANCELLED", "CANCELLED"),
    *(("edited", state, state) for state in ("QUEUED", "RUNNING", "SUCCEEDED", "FAILED", "CANCELLED")),
}
FINAL = {"SUCCEEDED", "FAILED", "CANCELLED"}


@dataclass
class Verdict:
    """Breaches by kind, and how the runs ended."""

    lost: list[str] = field(default_factory=list)
    recorded_twice: list[str] = field(default_factory=list)
    illegal: list[str] = field(default_factory=list)
    stale_writes: list[str] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)
    endings: Counter[str] = field(default_factory=Counter)
    attempts: int = 0

    @property
    def breaches(self) -> list[str]:
        return [*self.lost, *self.recorded_twice, *self.illegal, *self.stale_writes, *self.damaged]

    def summary(self) -> str:
        ended = ", ".join(f"{count} {state}" for state, count in sorted(self.endings.items()))
        return (
            f"{ended}; {self.attempts} attempts; lost {len(self.lost)}, recorded twice {len(self.recorded_twice)}, "
            f"illegal transitions {len(self.illegal)}, stale writes {len(self.stale_writes)}, "
            f"damaged results {len(self.damaged)}"
        )


def load_recorded(database_url: str) -> set[str]:
    """Return the ids of all runs on record."""
    engine = _engine(database_url)
    with engine.connect() as connection:
        found = {row.id for row in connection.execute(text("SELECT id FROM runs"))}
    engine.dispose()
    return found


def check(database_url: str, results: Path, accepted: Iterable[str]) -> Verdict:
    """Judge every run; `accepted` are the ids that a submitter was given."""
    engine = _engine(database_url)
    with engine.connect() as connection:
        rows = {row.id: row for row in connection.execute(text("SELECT * FROM runs"))}
        events = defaultdict(list)
        for event in connection.execute(text("SELECT * FROM run_events ORDER BY number")):
            events[event.run_id].append(event)
    engine.dispose()
    verdict = Verdict()
    for run_id in sorted({*accepted, *rows}):
        row = rows.get(run_id)
        if row is None or row.status not in FINAL:
            verdict.lost.append(f"{run_id} is {row.status if row else 'not there'}")
            continue
        verdict.endings[row.status] += 1
        verdict.attempts += row.attempt
        _judge_events(verdict, row, events[run_id])
        if row.status == "SUCCEEDED":
            _judge_result(verdict, row, results / row.folder)
    return verdict


def _engine(database_url: str) -> Engine:
    return create_engine(database_url.replace("postgresql://", "postgresql+psycopg://"))


def _judge_events(verdict: Verdict, row: Any, events: list[Any]) -> None:
    status, attempt, holder, cancelled = None, 0, None, False
    for event in events:
        place = f"{row.id} event {event.number} {event.kind} {event.from_status}->{event.to_status}"
        if (event.kind, event.from_status, event.to_status) not in ALLOWED or event.from_status != status:
            verdict.illegal.append(f"{place}, state was {status}")
        if event.kind == "claimed":
            if event.attempt != attempt + 1:
                verdict.illegal.append(f"{place}: attempt {event.attempt} after {attempt}")
            if cancelled:
                verdict.illegal.append(f"{place}: it was asked to stop before")
            attempt, holder = event.attempt, event.owner
        elif event.attempt != attempt or (event.from_status == "RUNNING" and event.owner not in (None, holder)):
            verdict.stale_writes.append(f"{place} by {event.owner} (attempt {event.attempt}), held by {holder}")
        cancelled = event.kind != "retried" and (cancelled or event.kind == "cancel_requested")
        status = event.to_status
    if sum(event.kind == "succeeded" for event in events) > 1:
        verdict.recorded_twice.append(row.id)
    if (status, attempt) != (row.status, row.attempt):
        verdict.illegal.append(f"{row.id}: the row says {row.status} {row.attempt}, its events {status} {attempt}")


def _judge_result(verdict: Verdict, row: Any, folder: Path) -> None:
    """The manifest is the recorded one, and every file is as it says (logs may have grown)."""
    try:
        content = (folder / "manifest.json").read_bytes()
        if hashlib.sha256(content).hexdigest() != row.manifest_sha256:
            verdict.damaged.append(f"{row.id}: another manifest than the recorded one")
        for name, entry in json.loads(content)["files"].items():
            data = (folder / name).read_bytes()[: entry["size"]]
            if hashlib.sha256(data).hexdigest() != entry["sha256"]:
                verdict.damaged.append(f"{row.id}: {name} is not what was published")
    except (OSError, ValueError, KeyError) as error:
        verdict.damaged.append(f"{row.id}: {error!r}")
