"""What a listing of runs may ask for, in words as people write them, and its JSON.

`RunQuery` is the one list of these words: the API's query parameters, the options of `ft30 runs list` and the store's
filter are made from it. A new one is a field here, one of `RunFilter`, and what it keeps in `store/pages.py`.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from finetune30.errors import UsageError
from finetune30.store import RunFilter, RunPage, RunStatus, RunStore
from finetune30.store.records import SortKey

Archived = Literal["no", "only", "all"]
Status = Literal["QUEUED", "RUNNING", "PAUSED", "SUCCEEDED", "FAILED", "CANCELLED"]


class RunQuery(BaseModel):
    """Which runs, in which order."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    name: str | None = Field(None, max_length=200, description="Words that the name contains, in any case.")
    status: list[Status] = Field([], max_length=5, description="May be given several times.")
    min_score: float | None = Field(
        None, description="Least score; give score_name too where runs are measured differently.", examples=[0.8]
    )
    max_score: float | None = Field(None, description="Greatest score, such as an error at most.", examples=[0.1])
    score_name: str | None = Field(
        None, max_length=100, description="Only runs measured by this score.", examples=["eval_accuracy"]
    )
    min_accuracy: float | None = Field(None, ge=0, le=1, description="Least evaluation accuracy.", examples=[0.8])
    max_runtime: float | None = Field(None, ge=0, description="Longest training time in seconds.")
    start_date: str | None = Field(
        None,
        max_length=40,
        description="Created at or after: ISO 8601, UTC without an offset.",
        examples=["2026-01-31"],
    )
    end_date: str | None = Field(None, max_length=40, description="Created before, or on that day.")
    model: str | None = Field(None, max_length=500, description="Exact name of the base model.")
    dataset_digest: str | None = Field(None, max_length=128, description="Exact digest of the dataset version.")
    tag: list[str] = Field([], max_length=10, description="May be given several times; the run has all of them.")
    starred: bool | None = Field(None, description="Only runs with a star, or only those without.")
    archived: Archived = Field("no", description="Archived runs: leave them out, list only them, or all runs alike.")
    sort_by: SortKey = Field(
        "created_at",
        description="By score, runs of one score stand together, descending the better ones first.",
        examples=["score"],
    )
    desc: bool = Field(True, description="Descending.")
    limit: int = Field(50, ge=1, le=1000, description="Runs on a page.")
    cursor: str | None = Field(None, max_length=2000, description="next_cursor of the page before.")

    def as_filter(self) -> RunFilter:
        """Return the store's filter; it lists runs without their configurations.

        Dates are ISO 8601, UTC where no offset is given; a date alone means from its beginning, as `end_date` to its
        end. Raises UsageError.
        """
        given = {name: value for name in RunQuery.model_fields if (value := getattr(self, name)) is not None}
        read = {name: _READ[name](value) if name in _READ else value for name, value in given.items()}
        return RunFilter(**{_NAMES.get(name, name): value for name, value in read.items()}, with_config=False)


#: Fields of the store's filter that are named otherwise.
_NAMES = {
    "status": "statuses",
    "max_runtime": "max_runtime_seconds",
    "model": "model_name",
    "desc": "descending",
    "tag": "tags",
}
#: Which runs are kept by the store's filter; None: both kinds.
_ARCHIVED = {"no": False, "only": True, "all": None}
#: How words become values, where they are not values already.
_READ: dict[str, Callable[[Any], Any]] = {
    "status": lambda words: frozenset(RunStatus(word) for word in words),
    "tag": lambda tags: frozenset(unicodedata.normalize("NFC", tag).strip() for tag in tags),
    "archived": _ARCHIVED.__getitem__,
    "start_date": lambda text: parse_moment(text, "start_date") if text else None,
    "end_date": lambda text: parse_moment(text, "end_date", day_ends=True) if text else None,
}


def count_hidden(store: RunStore, wanted: RunFilter) -> int:
    """Return how many runs a listing leaves out only because they are archived."""
    return store.count(replace(wanted, archived=True)) if wanted.archived is False else 0


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
    return {"runs": [run.as_dict(leaving_out=("config",)) for run in page.runs], "next_cursor": page.next_cursor}
