"""Editing runs, one or many: what may be written on them, and an answer for each.

A name follows the rule of `experiment_name`, but the run's folder, configuration and manifest keep the name that it was
made with: replaying and resuming go by those.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from finetune30.config.loading import validate_tree
from finetune30.errors import ConflictError, Finetune30Error, NotFoundError, UsageError
from finetune30.service.runs.open_records import Records
from finetune30.store import Run, RunStatus
from finetune30.store.annotations import MOST_TAGS, RunEdit, edit_run
from finetune30.values import is_text

LONGEST_NOTE = 4000
LONGEST_TAG = 32
#: Runs in one request; more are several requests.
MOST_AT_ONCE = 500

Action = Literal["cancel", "delete", "edit"]
#: done: it was changed; unchanged: it was so already, or is gone; refused: the error says why.
Outcome = Literal["done", "unchanged", "refused"]

_TAG = re.compile(rf"\w[\w .+\-:/]{{0,{LONGEST_TAG - 1}}}")


def read_tag(text: str) -> str:
    """Return a tag in the form in which it is kept (NFC, without spaces around it). Raises UsageError."""
    tag = unicodedata.normalize("NFC", text).strip()
    if not _TAG.fullmatch(tag):
        raise UsageError(
            f"{text[:80]!r} is no tag of a run",
            f"use 1 to {LONGEST_TAG} letters, digits, spaces and . + - _ : /, a letter or digit first",
        )
    return tag


def read_edit(given: Mapping[str, Any]) -> RunEdit:
    """Return the change that these words of `Edit` ask for. Raises UsageError, ConfigError."""
    try:
        return Edit.model_validate(given).as_edit()
    except ValidationError as error:
        fault = error.errors()[0]
        problem = fault["msg"].removeprefix("Value error, ")
        raise UsageError(f"{fault['loc'][0]}: {problem}", "see what is allowed with: ft30 runs edit --help") from error


def _require_text(text: str) -> str:
    if "\0" in text or not is_text(text):
        raise ValueError("holds a character that is no text")
    return text


Note = Annotated[str, Field(max_length=LONGEST_NOTE), AfterValidator(_require_text)]
Tags = Annotated[list[str], Field(max_length=MOST_TAGS)]


class Marks(BaseModel):
    """What can be written on many runs at once."""

    model_config = ConfigDict(extra="forbid")

    add_tags: Tags = Field([], description="Tags to add.", examples=[["baseline"]])
    remove_tags: Tags = Field([], description="Tags to take away.")
    starred: bool | None = Field(None, description="Mark with a star, or take it away.")
    archived: bool | None = Field(None, description="Archived runs are hidden in listings unless asked for.")

    def as_edit(self) -> RunEdit:
        """Return the change, checked. Raises UsageError for what is no tag, ConfigError for what is no name."""
        return RunEdit(
            add_tags=tuple(map(read_tag, self.add_tags)),
            remove_tags=tuple(map(read_tag, self.remove_tags)),
            starred=self.starred,
            archived=self.archived,
        )


class Edit(Marks):
    """What can be written on one run; what is left out stays."""

    name: str | None = Field(
        None, description="As experiment_name. Folder and configuration keep the old one.", examples=["best of May"]
    )
    note: Note | None = Field(None, description="Plain text; an empty one removes it.")
    tags: Tags | None = Field(None, description="All tags that it shall have.")

    def as_edit(self) -> RunEdit:
        """Return the change, checked. Raises UsageError for what is no tag, ConfigError for what is no name."""
        marks = super().as_edit()
        return RunEdit(
            name=None if self.name is None else _read_name(self.name),
            note=None if self.note is None else self.note.strip(),
            tags=None if self.tags is None else tuple(map(read_tag, self.tags)),
            add_tags=marks.add_tags,
            remove_tags=marks.remove_tags,
            starred=marks.starred,
            archived=marks.archived,
        )


@dataclass(frozen=True)
class RunAnswer:
    """What came of one of many runs; `name` and `status` are None for one that is not on record (any more)."""

    id: str
    name: str | None
    outcome: Outcome
    status: RunStatus | None
    error: Finetune30Error | None

    def as_dict(self) -> dict[str, Any]:
        """Return JSON-ready values."""
        return {**vars(self), "error": self.error.as_dict() if self.error else None}


def apply_to_each(
    records: Records,
    references: Sequence[str],
    action: Action,
    edit: RunEdit,
    *,
    by: str | None = None,
    allow: Callable[[Run], None] = lambda run: None,
) -> Iterator[RunAnswer]:
    """Do one thing to many runs, one after the other; yield what came of each as it is done.

    A run that is so already is `unchanged`, and one that is gone already as well when it is to be deleted: asking again
    after a lost answer does no harm. What a worker takes meanwhile is refused or stopped as if it were asked for alone.
    `allow` raises AccessError for runs that the caller may not change. Raises StorageError when the database is lost.
    """
    for reference in dict.fromkeys(references):
        try:
            run = records.store.get(reference)
        except (NotFoundError, ConflictError) as error:
            gone = action == "delete" and _was_deleted(records, reference)
            yield RunAnswer(reference, None, "unchanged" if gone else "refused", None, None if gone else error)
            continue
        try:
            allow(run)
            outcome, status = _ACTIONS[action](records, run, edit, by)
        except Finetune30Error as error:
            yield RunAnswer(run.id, run.name, "refused", run.status, error)
        else:
            yield RunAnswer(run.id, run.name, outcome, status, None)


# --- private


def _cancel(records: Records, run: Run, _: RunEdit, __: str | None) -> tuple[Outcome, RunStatus]:
    stopping = run.status is RunStatus.CANCELLED or run.cancel_requested
    now = records.store.request_cancel(run.id)
    return "unchanged" if stopping else "done", now.status


def _delete(records: Records, run: Run, _: RunEdit, __: str | None) -> tuple[Outcome, None]:
    try:
        records.store.delete(run.id, records.results_root)
    except NotFoundError:  # somebody else deleted it in this moment
        return "unchanged", None
    return "done", None


def _was_deleted(records: Records, run_id: str) -> bool:
    return any(event.kind == "deleted" for event in records.store.events(run_id))


def _edit(records: Records, run: Run, edit: RunEdit, by: str | None) -> tuple[Outcome, RunStatus]:
    now, is_changed = edit_run(records.store, run.id, edit, by=by)
    return "done" if is_changed else "unchanged", now.status


_ACTIONS: dict[str, Callable[[Records, Run, RunEdit, str | None], tuple[Outcome, RunStatus | None]]] = {
    "cancel": _cancel,
    "delete": _delete,
    "edit": _edit,
}


def _read_name(name: str) -> str:
    """Return a name if a run may be called so."""
    return validate_tree({"experiment_name": name}).experiment_name
