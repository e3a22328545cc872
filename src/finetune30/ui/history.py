"""The history of a run as points of curves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from finetune30.ui.display import moment

Json = dict[str, Any]

AXES = ("step", "epoch", "time")
#: Ends of names of what an evaluation took, which says nothing about the model.
_SPEEDS = ("_runtime", "_second")


def find_points(records: Sequence[Json], value: str, axis: str) -> list[Json]:
    """Return x and y of the records that have a value; `time` is in seconds since the first of all records."""
    start = next((record["time"] for record in records if record.get("time")), None)
    found = []
    for record in records:
        measured, x = record.get(value), _place(record, axis, start)
        if isinstance(measured, int | float) and x is not None:
            found.append({"x": x, "y": measured})
    return found


def measured(evaluations: Sequence[Json]) -> list[str]:
    """Return the names of what evaluations measured, but not how long they took."""
    names = dict.fromkeys(
        name for record in evaluations for name, value in record.items() if isinstance(value, int | float)
    )
    return [name for name in names if name.startswith("eval_") and not name.endswith(_SPEEDS)]


def thin(points: Sequence[Json], most: int) -> list[Json]:
    """Return at most `most` points, evenly chosen, always with the last one."""
    if len(points) <= most:
        return list(points)
    stride = len(points) / (most - 1)
    return [points[int(n * stride)] for n in range(most - 1)] + [points[-1]]


def values_of(records: Sequence[Json], name: str) -> list[float]:
    """Return the values of a name in their order."""
    return [value for record in records if isinstance(value := record.get(name), int | float)]


def _place(record: Json, axis: str, start: Any) -> Any:
    if axis != "time":
        return record.get(axis)
    at, since = moment(record.get("time")), moment(start)
    return (at - since).total_seconds() if at and since else None
