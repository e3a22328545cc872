"""What a listing of runs may ask for, in words as people write them, and its JSON."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, get_args

from finetune30.errors import UsageError
from finetune30.store import RunFilter, RunPage, RunStatus
from finetune30.store.records import SortKey


def build_filter(
    *,
    name: str | None = None,
    statuses: Sequence[str] = (),
    min_accuracy: float | None = None,
    max_runtime: float | None = None,
    start_date: str | None = None,
    end_date: str | None = None,
    model_name: str | None = None,
    dataset_digest: str | None = None,
    sort_by: str = "created_at",
    descending: bool = True,
    limit: int = 50,
    cursor: str | None = None,
) -> RunFilter:
    """Return the filter for words as people write them; it lists runs without their configurations.

    Dates are ISO 8601, UTC where no offset is given; a date alone means from its beginning, as `end_date` to its end.
    `max_runtime` is in seconds. Raises UsageError.
    """
    known = {status.value for status in RunStatus}
    wanted = [status.upper() for status in statuses]
    if unknown := sorted(set(wanted) - known):
        raise UsageError(f"unknown status {', '.join(unknown)}", f"use: {', '.join(sorted(known))}")
    if sort_by not in get_args(SortKey):
        raise UsageError(f"cannot sort by {sort_by!r}", f"use one of: {', '.join(get_args(SortKey))}")
    return RunFilter(
        name=name,
        statuses=frozenset(RunStatus(status) for status in wanted),
        min_accuracy=min_accuracy,
        max_runtime_seconds=max_runtime,
        start_date=parse_moment(start_date, "start_date") if start_date else None,
        end_date=parse_moment(end_date, "end_date", day_ends=True) if end_date else None,
        model_name=model_name,
        dataset_digest=dataset_digest,
        sort_by=sort_by,  # type: ignore[arg-type]
        descending=descending,
        limit=limit,
        cursor=cursor,
        with_config=False,
    )


def parse_moment(text: str, name: str, *, day_ends: bool = False) -> datetime:
    """Return an ISO 8601 date or time as aware UTC.

    A date alone means its first moment, or the first of the next day with `day_ends`. Raises UsageError.
    """
    try:
        try:
            day = date.fromisoformat(text)
        except ValueError:
            moment = datetime.fromisoformat(text)
            return moment.replace(tzinfo=moment.tzinfo or UTC).astimezone(UTC)
        return datetime.combine(day + timedelta(days=day_ends), time(), UTC)
    except (ValueError, OverflowError) as error:
        raise UsageError(
            f"{name} {text!r} is no date", "write 2026-01-31, 2026-01-31T12:00:00 or with an offset such as +08:00"
        ) from error


def page_as_dict(page: RunPage) -> dict[str, Any]:
    """Return the JSON of a listing: runs without their configuration trees, and the cursor of the next page."""
    shown = [{key: value for key, value in run.as_dict().items() if key != "config"} for run in page.runs]
    return {"runs": shown, "next_cursor": page.next_cursor}
