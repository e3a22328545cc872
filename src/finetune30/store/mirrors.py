"""How far runs were carried to trackers: a cursor for each run and mirror, moved after the tracker has what it says.

A cursor is held by one process at a time, for a while, so two of them never carry the same run. Whoever holds it sends
first and moves it afterwards; killed in between, the next one sends the same again, which trackers take once. Writes do
not wait for the disk: what a power failure undoes is sent again too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, String, and_, cast, delete, func, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from finetune30.errors import ConflictError, NotFoundError
from finetune30.store.database import reading, writing
from finetune30.store.mirror_tables import mirror_cursors, mirrors
from finetune30.store.process_identity import is_dead
from finetune30.store.queries import is_in, shown_status
from finetune30.store.records import Run, RunStatus
from finetune30.store.run_store import RunStore
from finetune30.store.tables import runs

#: What a cursor holds of a run that its tracker does not know yet.
START: dict[str, Any] = {
    "remote": None,
    "attempt": 0,
    "records": 0,
    "told": "",
    "failures": 0,
    "error": None,
    "try_at": None,
}
#: A mirror counts as followed for so long after a process said that it follows it; it says so each few seconds.
_UNSEEN_SECONDS = 60.0


@dataclass(frozen=True)
class Cursor:
    """How far a run was carried: `records` of the history of `attempt`, `told` (see `state_of`), where it lies."""

    run_id: str
    mirror: str
    target: str
    generation: int = 0
    remote: dict[str, Any] | None = None
    attempt: int = 0
    records: int = 0
    told: str = ""
    failures: int = 0
    error: str | None = None
    try_at: datetime | None = None
    held_by: str | None = None
    held_until: datetime | None = None
    updated_at: datetime | None = None
    stopped_at: datetime | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return a JSON tree: what people are shown."""
        names = ("mirror", "target", "remote", "records", "failures", "error")
        told = {name: getattr(self, name) for name in names}
        moments = {"updated_at": self.updated_at, "stopped_at": self.stopped_at}
        return told | {name: None if at is None else at.isoformat() for name, at in moments.items()}


@dataclass(frozen=True)
class Failure:
    """Why a run was not carried: what the tracker refused, None where it is out of reach; and for how long it waits."""

    refusal: str | None
    wait_seconds: float


@dataclass(frozen=True)
class MirrorState:
    """A tracker that is followed: runs that it does not know in full, those that it refused, why it is out of reach.

    `is_followed`: a process does so now; `seen_at`, when one last said so; `fault`, what ended its thread by itself.
    """

    name: str
    since: datetime
    looked_at: datetime | None
    error: str | None
    seen_at: datetime | None
    fault: str | None
    fault_at: datetime | None
    is_followed: bool
    behind: int
    refused: int

    def as_dict(self) -> dict[str, Any]:
        """Return a JSON tree."""
        return {key: value.isoformat() if isinstance(value, datetime) else value for key, value in vars(self).items()}


def state_of(run: Run) -> str:
    """Return what a tracker was told of a run once it has all of it: its state, attempt and number of edits."""
    return f"{run.status} {run.attempt} {run.edits}"


def begin_following(store: RunStore, name: str) -> None:
    """Let runs that are queued from now on be carried to this mirror; a second time nothing changes."""
    with writing(store.engine) as connection:
        if connection.execute(select(mirrors.c.name).where(mirrors.c.name == name)).first() is None:
            _insert_once(connection, mirrors, {"name": name, "since": store.now(connection)})


def note_following(store: RunStore, names: Sequence[str], owner: str) -> None:
    """Note that a process (its identity) follows these mirrors now."""
    with writing(store.engine, durable=False) as connection:
        values = {"followed_by": owner, "seen_at": store.now(connection)}
        connection.execute(update(mirrors).where(mirrors.c.name.in_(names)).values(**values))


def note_fault(store: RunStore, name: str, fault: str) -> None:
    """Note what ended the following of a mirror by itself; it is started again."""
    with writing(store.engine, durable=False) as connection:
        values = {"fault": fault, "fault_at": store.now(connection)}
        connection.execute(update(mirrors).where(mirrors.c.name == name).values(**values))


def stop_following(store: RunStore, name: str) -> None:
    """Let no run be carried to this mirror by itself any more, whoever follows it. Raises NotFoundError."""
    with writing(store.engine) as connection:
        if connection.execute(delete(mirrors).where(mirrors.c.name == name)).rowcount == 0:
            raise NotFoundError(f"no mirror '{name}' is followed", "see those that are: ft30 mirror --list")


def is_to_follow(store: RunStore, name: str) -> bool:
    """Tell whether a mirror is to be followed: nobody has stopped it."""
    with reading(store.engine) as connection:
        return connection.execute(select(mirrors.c.name).where(mirrors.c.name == name)).first() is not None


def is_to_carry(store: RunStore, run_id: str, mirror: str) -> bool:
    """Tell whether a run is to be carried to a mirror that is followed: nobody has stopped either of them."""
    stopped = (*_is(run_id, mirror), mirror_cursors.c.stopped_at.is_not(None))
    with reading(store.engine) as connection:
        if connection.execute(select(mirror_cursors.c.run_id).where(*stopped)).first() is not None:
            return False
    return is_to_follow(store, mirror)


def stop_carrying(store: RunStore, run_id: str, mirror: str, *, stopped: bool) -> Cursor:
    """Let a run no longer be carried to a mirror, or again, and return its cursor; what is there stays there.

    A process that carries it at this moment finishes that.
    """
    with writing(store.engine) as connection:
        now = store.now(connection)
        row = {"run_id": run_id, "mirror": mirror, "target": "", "updated_at": now, **START, "generation": 0}
        if _load(connection, run_id, mirror, lock=True) is None:
            _insert_once(connection, mirror_cursors, row)
        values = {"stopped_at": now if stopped else None}
        connection.execute(update(mirror_cursors).where(*_is(run_id, mirror)).values(**values))
        cursor = _load(connection, run_id, mirror, lock=False)
    assert cursor is not None  # noqa: S101 - just written
    return cursor


def note_look(store: RunStore, name: str, error: str | None, *, was_asked: bool = True) -> None:
    """Note that a mirror was looked after just now, and why its tracker could not be reached, if so.

    Where it `was_asked` nothing, because no run was due, what was noted of that before stands.
    """
    with writing(store.engine, durable=False) as connection:
        values = {"looked_at": store.now(connection)} | ({"error": error} if was_asked else {})
        connection.execute(update(mirrors).where(mirrors.c.name == name).values(**values))


def load_mirrors(store: RunStore) -> list[MirrorState]:
    """Return the mirrors that are followed, by name."""
    with reading(store.engine) as connection:
        now = store.now(connection)
        found = [dict(row._mapping) for row in connection.execute(select(mirrors).order_by(mirrors.c.name))]
        return [
            MirrorState(
                is_followed=_is_followed(row.pop("followed_by"), row["seen_at"], now),
                **row,
                **_count(connection, row["name"]),
            )
            for row in found
        ]


def load_cursors(store: RunStore, run_id: str) -> list[Cursor]:
    """Return the cursors of a run, by mirror."""
    chosen = select(mirror_cursors).where(mirror_cursors.c.run_id == run_id).order_by(mirror_cursors.c.mirror)
    with reading(store.engine) as connection:
        return [_cursor(row) for row in connection.execute(chosen)]


def describe_cursors(store: RunStore, run: Run) -> list[dict[str, Any]]:
    """Return how far each mirror of a run is, as JSON trees; `complete`: it knows all that there is so far."""
    return [cursor.as_dict() | {"complete": cursor.told == state_of(run)} for cursor in load_cursors(store, run.id)]


def load_behind(store: RunStore, name: str) -> list[str]:
    """Return the ids of runs of which a mirror that is followed does not know all, and which may be tried now, the
    oldest first."""
    with reading(store.engine) as connection:
        due = or_(mirror_cursors.c.try_at.is_(None), mirror_cursors.c.try_at <= store.now(connection))
        query = _select(runs.c.id, and_(_behind(name), due), name).order_by(runs.c.created_at, runs.c.id)
        return list(connection.execute(query).scalars())


def load_finished_ids(store: RunStore, name: str) -> list[str]:
    """Return the ids of all runs that have ended and were not taken off a mirror, the oldest first."""
    ended = [status for status in RunStatus if status.is_final]
    chosen = and_(is_in(ended), mirror_cursors.c.stopped_at.is_(None))
    query = _select(runs.c.id, chosen, name).order_by(runs.c.created_at, runs.c.id)
    with reading(store.engine) as connection:
        return list(connection.execute(query).scalars())


def claim_cursor(
    store: RunStore, run_id: str, mirror: str, target: str, *, owner: str, hold_seconds: float
) -> Cursor | None:
    """Hold the cursor of a run, made where there is none, for so many seconds; None while another process holds it.

    With another `target` than before it begins from the start. It keeps its generation, by which what an earlier use
    of that target left there is found again.
    """
    with writing(store.engine, durable=False) as connection:
        now = store.now(connection)
        found = _load(connection, run_id, mirror, lock=True)
        if found is None:
            row = {"run_id": run_id, "mirror": mirror, "target": target, "updated_at": now, **START, "generation": 0}
            if not _insert_once(connection, mirror_cursors, row):
                return None  # another process made it in this very moment, and works on it
            found = _load(connection, run_id, mirror, lock=True)
            assert found is not None  # noqa: S101 - just written
        if _is_held(found, owner, now):
            return None
        values: dict[str, Any] = {"held_by": owner, "held_until": now + timedelta(seconds=hold_seconds)}
        if found.target != target:
            values |= {**START, "target": target}
        connection.execute(update(mirror_cursors).where(*_is(run_id, mirror)).values(**values))
        claimed = _load(connection, run_id, mirror, lock=False)
    return claimed


def move_cursor(store: RunStore, cursor: Cursor, *, hold_seconds: float, **values: Any) -> Cursor:
    """Record what the tracker has now, and hold the cursor on. Raises ConflictError when another process holds it."""
    with writing(store.engine, durable=False) as connection:
        now = store.now(connection)
        held = {"held_until": now + timedelta(seconds=hold_seconds), "updated_at": now}
        _change_held(connection, cursor, {**values, **held, "failures": 0, "error": None, "try_at": None})
        moved = _load(connection, cursor.run_id, cursor.mirror, lock=False)
    assert moved is not None  # noqa: S101 - cursors are not deleted
    return moved


def release_cursor(store: RunStore, cursor: Cursor, failure: Failure | None = None) -> None:
    """Give a cursor back; after a failure it is not tried again for a while."""
    with writing(store.engine, durable=False) as connection:
        values: dict[str, Any] = {"held_by": None, "held_until": None}
        if failure is not None:
            try_at = store.now(connection) + timedelta(seconds=failure.wait_seconds)
            values |= {"error": failure.refusal, "failures": cursor.failures + 1, "try_at": try_at}
        held = (*_is(cursor.run_id, cursor.mirror), mirror_cursors.c.held_by == cursor.held_by)
        connection.execute(update(mirror_cursors).where(*held).values(**values))


# --- private


def _is_followed(owner: str | None, seen_at: datetime | None, now: datetime) -> bool:
    if owner is None or seen_at is None or now - seen_at > timedelta(seconds=_UNSEEN_SECONDS):
        return False
    return not is_dead(owner)


def _is_held(cursor: Cursor, owner: str, now: datetime) -> bool:
    """Tell whether another process holds a cursor; one of this host that is gone holds none."""
    if cursor.held_by in (None, owner) or cursor.held_until is None or cursor.held_until <= now:
        return False
    return not is_dead(str(cursor.held_by))


def _is(run_id: str, mirror: str) -> Sequence[ColumnElement[bool]]:
    return mirror_cursors.c.run_id == run_id, mirror_cursors.c.mirror == mirror


def _count(connection: Connection, name: str) -> dict[str, Any]:
    query = _select(func.count(), _behind(name), name)
    refused = _select(func.count(), and_(_behind(name), mirror_cursors.c.error.is_not(None)), name)
    return {"behind": connection.execute(query).scalar_one(), "refused": connection.execute(refused).scalar_one()}


def _behind(name: str) -> ColumnElement[bool]:
    """Return which runs a mirror does not know in full: those that were queued since it is followed, or that it has
    begun, but for those that were taken off it. A run that has not begun is nothing to tell of, and one that trains
    always is."""
    since = select(mirrors.c.since).where(mirrors.c.name == name).scalar_subquery()
    known = mirror_cursors.c.run_id.is_not(None)
    state = shown_status() + " " + cast(runs.c.attempt, String) + " " + cast(runs.c.edits, String)
    told = func.coalesce(mirror_cursors.c.told, "")
    changed = or_(runs.c.status == RunStatus.RUNNING, told != state)
    wanted = and_(runs.c.status != RunStatus.QUEUED, mirror_cursors.c.stopped_at.is_(None))
    return and_(wanted, or_(known, runs.c.queued_at >= since), changed)


def _select(what: Any, chosen: ColumnElement[bool], name: str) -> Any:
    its = and_(mirror_cursors.c.run_id == runs.c.id, mirror_cursors.c.mirror == name)
    return select(what).select_from(runs.outerjoin(mirror_cursors, its)).where(chosen)


def _load(connection: Connection, run_id: str, mirror: str, *, lock: bool) -> Cursor | None:
    query = select(mirror_cursors).where(*_is(run_id, mirror))
    row = connection.execute(query.with_for_update() if lock else query).one_or_none()
    return None if row is None else _cursor(row)


def _cursor(row: Row[Any]) -> Cursor:
    return Cursor(**row._mapping)


def _insert_once(connection: Connection, table: Any, row: dict[str, Any]) -> bool:
    try:
        with connection.begin_nested():
            connection.execute(insert(table).values(**row))
    except IntegrityError:
        return False
    return True


def _change_held(connection: Connection, cursor: Cursor, values: dict[str, Any]) -> None:
    held = (*_is(cursor.run_id, cursor.mirror), mirror_cursors.c.held_by == cursor.held_by)
    if connection.execute(update(mirror_cursors).where(*held).values(**values)).rowcount == 0:
        raise ConflictError(
            f"another process carries run {cursor.run_id[:8]} to {cursor.mirror} now",
            "see how far it is: ft30 mirror --list",
        )
