"""In which order waiting runs are taken, so that nobody waits while somebody else has more than their share.

Higher priority first. Within a priority the next turn is that of the submitter whose running runs take the fewest
places; among equals of the one who was served longest ago, then of the run that waits longest. A submitter with as many
runs running as one may have (`most_running`) gets none until one of them has ended. Nothing of this is remembered:
every look derives it from the rows, so no process has to be alive for it, and a run that is handed back loses nothing.

How many places a run needs does not change whose turn it is. One that needs several is taken by a worker that has as
many in all, once so many are free; until then that worker takes nothing that stands behind it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

from sqlalchemy import Connection, Select, Subquery, case, func, select, text

from finetune30.store.records import RunStatus
from finetune30.store.tables import runs

#: Where no limit is set: more than anybody has.
NO_LIMIT = (1 << 31) - 1
#: Which runs wait for a worker.
WAITS = (runs.c.status == RunStatus.QUEUED, runs.c.kind == "queued", ~runs.c.cancel_requested)


@dataclass(frozen=True)
class Place:
    """Where a waiting run stands: `number` 1 is next; `is_held` while its submitter has as many running as allowed.

    `needed` is the number of places that it takes.
    """

    number: int
    is_held: bool
    needed: int


@cache
def order_waiting(most_running: int | None) -> Subquery:
    """Return every waiting run as `id`, `places`, `place` (1 is next), `is_held` (its submitter is at the limit), and
    what the place follows from: `submitted_by`, `priority`, `queued_at`, `number`, `share`, `served`.

    Held runs come last: none of them is taken before something else has changed.
    """
    mine = runs.alias("mine")
    submitters = select(runs.c.submitted_by).where(*WAITS).distinct().subquery("submitters")
    running = (
        select(mine.c.submitted_by, func.count().label("running"), func.sum(mine.c.places).label("busy"))
        .where(mine.c.status == RunStatus.RUNNING, mine.c.kind == "queued")
        .group_by(mine.c.submitted_by)
        .subquery("running")
    )
    served = (
        select(func.max(mine.c.started_at))
        .where(mine.c.submitted_by == submitters.c.submitted_by, mine.c.kind == "queued")
        .scalar_subquery()
    )
    owners = (
        select(
            submitters.c.submitted_by,
            func.coalesce(running.c.running, 0).label("running"),
            func.coalesce(running.c.busy, 0).label("busy"),
            served.label("served"),
        )
        .join(running, running.c.submitted_by == submitters.c.submitted_by, isouter=True)
        .cte("owners")
    )
    own_order = (runs.c.priority.desc(), runs.c.queued_at, runs.c.id)
    own_turn = func.row_number().over(partition_by=runs.c.submitted_by, order_by=own_order)
    before = func.sum(runs.c.places).over(partition_by=runs.c.submitted_by, order_by=own_order, rows=(None, -1))
    number = (own_turn + owners.c.running).label("number")
    share = (func.coalesce(before, 0) + owners.c.busy).label("share")  # what the submitter has when its turn comes
    own = (runs.c.id, runs.c.submitted_by, runs.c.places, runs.c.priority, runs.c.queued_at)
    waiting = (
        select(*own, number, share, owners.c.served)
        .join(owners, owners.c.submitted_by == runs.c.submitted_by, isouter=True)  # so SQLite begins with these rows
        .where(*WAITS)
        .subquery("waiting")
    )
    is_held = case((waiting.c.number > (most_running or NO_LIMIT), 1), else_=0)
    order = (
        is_held,
        waiting.c.priority.desc(),
        waiting.c.share,
        waiting.c.served.is_not(None),  # who was never served was served longest ago, on every database
        waiting.c.served,
        waiting.c.queued_at,
        waiting.c.id,
    )
    place = func.row_number().over(order_by=order).label("place")
    return select(*waiting.c, place, is_held.label("is_held")).subquery("queue")


def select_next(limit: int, most_running: int | None, most_places: int | None = None, after: int = 0) -> Select[Any]:
    """Select the rows of the runs that are taken next, in order, without those that are held and the first `after`.

    With `most_places` without those that need more places, too.
    """
    queue = order_waiting(most_running)
    taken = select(runs).join(queue, queue.c.id == runs.c.id).where(queue.c.is_held == 0)
    if most_places is not None:
        taken = taken.where(queue.c.places <= most_places)
    return taken.order_by(queue.c.place).limit(limit).offset(after)


def count_running(connection: Connection, submitted_by: str) -> int:
    """Return how many queued runs of a submitter are running."""
    running = select(func.count()).select_from(runs).where(*_RUNS, runs.c.submitted_by == submitted_by)
    return connection.execute(running).scalar_one()


def load_busy_places(connection: Connection) -> dict[str, int]:
    """Return owner -> how many places its running queued runs take."""
    busy = select(runs.c.lease_owner, func.sum(runs.c.places)).where(*_RUNS).group_by(runs.c.lease_owner)
    return {owner or "": int(places) for owner, places in connection.execute(busy)}


def has_room(connection: Connection, run_id: str, most_running: int) -> bool:
    """Tell, within the transaction of a claim, whether the submitter of a run may have one more running.

    Claims for one submitter go one after another on PostgreSQL too; on SQLite all that write do.
    """
    submitted_by = connection.execute(select(runs.c.submitted_by).where(runs.c.id == run_id)).scalar_one_or_none()
    if submitted_by is None:
        return False
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(hashtextextended(:who, 30))"), {"who": submitted_by})
    return count_running(connection, submitted_by) < most_running


_RUNS = (runs.c.status == RunStatus.RUNNING, runs.c.kind == "queued")
