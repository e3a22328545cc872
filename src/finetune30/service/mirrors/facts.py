"""What is told of a run, from its row, its files and the search or set that it belongs to."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from finetune30.config.loading import flatten_tree
from finetune30.files import load_json
from finetune30.service.mirrors.protocol import Group, Point, RunFacts
from finetune30.service.runs.open_records import Records
from finetune30.store import Run, RunFolder
from finetune30.store.database import reading
from finetune30.store.search_members import find_group

#: Records of other types, such as events, hold no numbers.
MEASURED = ("train", "eval")
#: Of a record: what is no measurement.
_NO_VALUES = frozenset({"type", "step", "time"})
_MANIFEST_KEYS = ("dataset_digest", "base", "environment", "git", "digests")


def describe_run(records: Records, run: Run) -> RunFacts:
    """Return what a tracker is told of a run beside its points."""
    with reading(records.store.engine) as connection:
        group = find_group(connection, run)
    return RunFacts(
        id=run.id,
        name=run.name,
        folder=run.folder,
        status=run.status,
        note=run.note,
        parameters={key: _as_text(value) for key, value in flatten_tree(run.config).items()},
        tags=_describe_origin(run, records.folder(run)),
        group=None if group is None else Group(*group),
        began_at=run.started_at or run.created_at,
        ended_at=run.finished_at if run.status.is_final else None,
    )


def read_points(history: Sequence[Mapping[str, Any]], began_at: datetime) -> list[Point]:
    """Return the points of steps and evaluations of history.jsonl; lists, such as confusion matrices, are left out.

    One of a first version, which noted no times, has that of the run's beginning.
    """
    return [
        Point(
            kind=record["type"],
            step=int(record["step"]),
            at=(datetime.fromisoformat(record["time"]) if "time" in record else began_at).timestamp(),
            values=_numbers({key: value for key, value in record.items() if key not in _NO_VALUES}),
        )
        for record in history
    ]


def find_record_fault(record: object) -> str | None:
    """Return why a record of history.jsonl is none that a training wrote; None for one that can be read."""
    if not isinstance(record, Mapping):
        return "it is no object"
    if record.get("type") not in MEASURED:
        return None
    if type(record.get("step")) is not int:
        return f"its step is {record.get('step')!r}"
    try:
        datetime.fromisoformat(record.get("time", "2026-01-01"))
    except (TypeError, ValueError):
        return f"its time is {record['time']!r}"
    return None


def final_point(run: Run) -> Point | None:
    """Return the numbers that came out of a finished run, of the model that it published; None without metrics."""
    if run.metrics is None or run.finished_at is None:
        return None
    step = run.metrics.get("total_steps")
    return Point("final", step if isinstance(step, int) else 0, run.finished_at.timestamp(), _numbers(run.metrics))


# --- private


def _numbers(tree: Mapping[str, Any]) -> dict[str, float]:
    found = {key: float(value) for key, value in tree.items() if type(value) in (int, float)}
    return {key: value for key, value in found.items() if math.isfinite(value)}


def _describe_origin(run: Run, folder: RunFolder) -> dict[str, str]:
    """Return tags: which attempt, which data, which versions; of a finished run also its digests."""
    manifest = load_json(folder.manifest) or {}
    told: dict[str, Any] = {
        "run_id": run.id,
        "folder": str(folder.path.absolute()),
        "status": run.status,
        "attempt": run.attempt,
        "config_digest": run.config_digest,
        "dataset_digest": run.dataset_digest,
        "device": run.device,
        "precision": run.precision,
        "tags": ", ".join(run.tags),
        "submitted_by": run.submitted_by,
        "manifest_sha256": run.manifest_sha256,
        "error": (run.error or {}).get("message"),
        **_flatten({key: manifest[key] for key in _MANIFEST_KEYS if manifest.get(key) is not None}),
    }
    return {key: _as_text(value) for key, value in told.items() if value not in (None, "", [], {})}


def _flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in tree.items():
        found |= _flatten(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {prefix + key: value}
    return found


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
