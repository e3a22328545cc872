"""Which servers of models there are: each tells what answers under its names, and is heard of every few seconds.

Nothing is decided by these rows but how long somebody waits for a promotion to be everywhere: a server follows its
aliases by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import delete, insert, select, update

from finetune30.store.database import reading, writing
from finetune30.store.process_identity import is_dead
from finetune30.store.run_store import RunStore
from finetune30.store.server_tables import servers

#: Who was not heard of for so long is silent: it may be gone, or out of the database's reach and answering still.
SILENT_SECONDS = 15.0
#: What was silent for so long is forgotten.
_FORGOTTEN = timedelta(days=1)


@dataclass(frozen=True)
class Server:
    """A server as it told of itself; `is_silent`: not heard of lately."""

    id: str
    host: str
    pid: int
    address: str
    started_at: datetime
    seen_at: datetime
    names: Sequence[dict[str, Any]]
    is_silent: bool

    def find(self, name: str) -> dict[str, Any] | None:
        """Return what NAME@alias or NAME:7 leads to there; None where it is not served."""
        return next((one for one in self.names if one["name"] == name), None)

    def describe_name(self, name: str) -> str:
        """Say what a name leads to there, for people."""
        told = self.find(name) or {}
        said = f"{told['model']}:{told['version']}" if "version" in told else "no version yet"
        refused = told.get("refused")
        why = f", refused version {refused['version']}: {refused.get('why')}" if refused else ""
        return f"{said}, {told.get('state')}{why}"

    def as_dict(self) -> dict[str, Any]:
        """Return a JSON tree."""
        told: dict[str, Any] = {"host": self.host, "pid": self.pid, "address": self.address, "names": list(self.names)}
        moments = {"started_at": self.started_at.isoformat(), "seen_at": self.seen_at.isoformat()}
        return told | moments | {"silent": self.is_silent}


def tell_server(store: RunStore, server_id: str, owner: str, address: str, names: Sequence[dict[str, Any]]) -> None:
    """Put on record what a server answers with now; the first call is its beginning. Raises StorageError.

    It does not wait for the disk: after a power failure there is no such server.
    """
    with writing(store.engine, durable=False) as connection:
        now = store.now(connection)
        told = {"seen_at": now, "names": list(names)}
        chosen = servers.c.id == server_id
        if connection.execute(update(servers).where(chosen).values(**told)).rowcount == 0:
            row = {"id": server_id, "owner": owner, "address": address, "started_at": now, **told}
            connection.execute(insert(servers).values(**row))
            connection.execute(delete(servers).where(servers.c.seen_at < now - _FORGOTTEN))


def remove_server(store: RunStore, server_id: str) -> None:
    """Take away the row of a server that was stopped. Raises StorageError."""
    with writing(store.engine, durable=False) as connection:
        connection.execute(delete(servers).where(servers.c.id == server_id))


def find_servers(store: RunStore, model: str | None = None) -> list[Server]:
    """Return the servers that are not known to be gone, the oldest first; with `model` those of a model."""
    with reading(store.engine) as connection:
        now = store.now(connection)
        rows = connection.execute(select(servers).order_by(servers.c.started_at, servers.c.address)).all()
    found = [_restore(row, now) for row in rows if not is_dead(row.owner)]
    return [one for one in found if model is None or any(_is_of(name, model) for name in one.names)]


def _restore(row: Any, now: datetime) -> Server:
    host, _, _ = row.owner.partition(":")
    pid = row.owner.split(":")[2]
    is_silent = (now - row.seen_at).total_seconds() > SILENT_SECONDS
    return Server(row.id, host, int(pid), row.address, row.started_at, row.seen_at, row.names, is_silent)


def _is_of(name: dict[str, Any], model: str) -> bool:
    return str(name["name"]).replace(":", "@").partition("@")[0] == model
