"""What people write on a run: its name, a note, tags, a star, whether it is archived.

Nothing that a run does depends on it: folder, configuration, manifest and lineage keep what they were made with, so a
run may be edited in any state, also while an attempt carries it out. An edit says which one before it was seen, so that
two people do not undo each other's words unknowingly.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import update

from finetune30.errors import ConflictError, UsageError
from finetune30.store import queries
from finetune30.store.database import writing
from finetune30.store.events import record_event
from finetune30.store.records import Run
from finetune30.store.run_store import RunStore
from finetune30.store.tables import runs

#: All tags of a run stand in the indexes of the listing, whose rows must not grow without end.
MOST_TAGS = 10


@dataclass(frozen=True)
class RunEdit:
    """What to change; None leaves a thing alone. `tags` are all that the run shall have, the others come and go."""

    name: str | None = None
    note: str | None = None
    tags: tuple[str, ...] | None = None
    add_tags: tuple[str, ...] = ()
    remove_tags: tuple[str, ...] = ()
    starred: bool | None = None
    archived: bool | None = None


def edit_run(
    store: RunStore, reference: str, edit: RunEdit, *, seen: int | None = None, by: str | None = None
) -> tuple[Run, bool]:
    """Change what the edit names; return the run and whether anything was different from before.

    `seen` is the number of edits that the caller knows of; `by` goes into the event. Raises NotFoundError,
    ConflictError when the run was edited since, UsageError for more than ten tags.
    """
    with writing(store.engine) as connection:
        run = queries.load_run(connection, reference, lock=True)
        if seen is not None and seen != run.edits:
            raise ConflictError(
                f"run {run.id} was edited meanwhile ({run.edits} edits, you saw {seen})",
                "look at it again, then repeat your change",
            )
        changed = {key: value for key, value in _wanted(run, edit).items() if value != getattr(run, key)}
        if changed:
            values = _columns(changed) | {"edits": runs.c.edits + 1}
            connection.execute(update(runs).where(runs.c.id == run.id).values(**values))
            told = {key: {"from": _plain(getattr(run, key)), "to": _plain(value)} for key, value in changed.items()}
            detail = {"changed": told} | ({"by": by} if by else {})
            now = store.now(connection)
            record_event(connection, run.id, now, "edited", run.attempt, run.status, run.status, detail=detail)
            run = queries.load_run(connection, run.id)
    return run, bool(changed)


# --- private


def _wanted(run: Run, edit: RunEdit) -> dict[str, Any]:
    """Return every thing that the edit names, as it shall be."""
    before = run.tags if edit.tags is None else edit.tags
    tags = tuple(tag for tag in dict.fromkeys((*before, *edit.add_tags)) if tag not in edit.remove_tags)
    if len(tags) > MOST_TAGS and tags != run.tags:
        raise UsageError(
            f"run {run.id} would have {len(tags)} tags", f"a run has at most {MOST_TAGS}: remove some first"
        )
    plain = {"name": edit.name, "note": edit.note, "starred": edit.starred, "archived": edit.archived}
    return {"tags": tags} | {key: value for key, value in plain.items() if value is not None}


def _columns(changed: dict[str, Any]) -> dict[str, Any]:
    columns = dict(changed)
    if "name" in changed:
        columns["name_key"] = queries.name_key(changed["name"])
    if "tags" in changed:
        columns["tags"] = queries.join_tags(changed["tags"])
    return columns


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
