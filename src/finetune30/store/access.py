"""Who may call the API, and the trail of what was changed: keys (as sha256 only) and audit entries."""

from __future__ import annotations

import hashlib
import secrets
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, bindparam, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from finetune30.errors import ConflictError, NotFoundError
from finetune30.store.database import reading, writing
from finetune30.store.joined_writes import write_jointly
from finetune30.store.queries import load_submitted
from finetune30.store.records import RunStatus
from finetune30.store.run_store import RunStore
from finetune30.store.tables import api_keys, audit, runs

KEY_PREFIX = "ft30_"
_KEY_BYTES = 32  # 256 random bits: nothing to guess, so a plain sha256 is enough to store

#: Roles that processes of releases before r0011 do not know: what a key of one may do there instead.
_FOR_OLDER = {"caller": "viewer", "promoter": "submitter"}

_OPEN = (
    select(func.count())
    .select_from(runs)
    .where(runs.c.submitted_by == bindparam("who"), runs.c.status.in_([RunStatus.QUEUED, RunStatus.RUNNING]))
)
_ENTER = insert(audit).returning(audit.c.number)
_COMPLETE = (
    update(audit)
    .where(audit.c.number == bindparam("entry"))
    .values({name: bindparam(name) for name in ("action", "target", "outcome")})
)


class Role(StrEnum):
    """What a key allows: ask models; look; also submit and change own runs; also move protected aliases; everything."""

    CALLER = "caller"
    VIEWER = "viewer"
    SUBMITTER = "submitter"
    PROMOTER = "promoter"
    ADMIN = "admin"

    def includes(self, other: Role) -> bool:
        """Tell whether this role may do what `other` may: each what those before it may, but viewers ask no models."""
        order = list(Role)
        beside = (self, other) == (Role.VIEWER, Role.CALLER)
        return order.index(self) >= order.index(other) and not beside


@dataclass(frozen=True)
class ApiKey:
    """A key on record; `digest` is the sha256 of the key itself, which is kept nowhere."""

    id: str
    name: str
    role: Role
    digest: str
    created_at: datetime
    revoked_at: datetime | None

    def as_dict(self) -> dict[str, Any]:
        """Return JSON-ready values, without the digest."""
        shown = {key: value for key, value in vars(self).items() if key != "digest"}
        return {key: value.isoformat() if isinstance(value, datetime) else value for key, value in shown.items()}


@dataclass(frozen=True)
class AuditEntry:
    """One change: who asked for what on which target, from where, and the HTTP status of the answer (0: no HTTP)."""

    number: int
    at: datetime
    actor: str
    role: str
    action: str
    target: str
    outcome: int
    client: str

    def as_dict(self) -> dict[str, Any]:
        """Return JSON-ready values."""
        return {**vars(self), "at": self.at.isoformat()}


def digest_key(secret: str) -> str:
    """Return the form in which a key is stored and compared."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def create_key(store: RunStore, name: str, role: Role) -> tuple[ApiKey, str]:
    """Make a key; return its record and the secret, which cannot be had again. Raises ConflictError for a used name."""
    secret = KEY_PREFIX + secrets.token_urlsafe(_KEY_BYTES)
    try:
        with writing(store.engine) as connection:
            now = store.now(connection)
            made = ApiKey(uuid.uuid4().hex[:12], name, role, digest_key(secret), now, None)
            older = _FOR_OLDER.get(role)
            row = {**vars(made), "role": older or role, "newer_role": role if older else None}
            connection.execute(insert(api_keys).values(**row))
    except IntegrityError as error:
        raise ConflictError(f"there is a key named {name!r} already", "choose another name: ft30 keys list") from error
    return made, secret


def revoke_key(store: RunStore, reference: str) -> ApiKey:
    """Revoke a key by its id or name; a revoked one stays so. Raises NotFoundError."""
    with writing(store.engine) as connection:
        matches = (api_keys.c.id == reference) | (api_keys.c.name == reference)
        row = connection.execute(select(api_keys).where(matches).limit(1)).one_or_none()
        if row is None:
            raise NotFoundError(f"there is no key {reference!r}", "see them with: ft30 keys list")
        if row.revoked_at is None:
            connection.execute(update(api_keys).where(api_keys.c.id == row.id).values(revoked_at=store.now(connection)))
    return next(key for key in load_keys(store) if key.id == row.id)


def load_keys(store: RunStore) -> list[ApiKey]:
    """Return every key, revoked ones too, in the order of their making."""
    with reading(store.engine) as connection:
        rows = connection.execute(select(api_keys).order_by(api_keys.c.created_at, api_keys.c.id)).all()
    return [_key_of(row._mapping) for row in rows]


def _key_of(row: Mapping[Any, Any]) -> ApiKey:
    values = dict(row)
    newer = values.pop("newer_role")
    return ApiKey(**{**values, "role": Role(newer or values["role"])})


def record_audit(
    store: RunStore, *, actor: str, role: str, action: str, target: str, outcome: int = 0, client: str = ""
) -> int:
    """Append one entry to the trail and return its number; returning means that it is durable."""
    values = {"actor": actor, "role": role, "action": action, "target": target, "outcome": outcome}

    def enter(connection: Connection) -> int:
        entry = {**values, "at": store.now(connection), "client": client[:200]}
        return int(connection.execute(_ENTER, entry).scalar_one())

    return write_jointly(store.engine, enter)


def complete_audit(store: RunStore, number: int, *, action: str, target: str, outcome: int) -> None:
    """Say in an entry what came of the change; does not wait for the disk."""
    values = {"action": action, "target": target, "outcome": outcome, "entry": number}
    write_jointly(store.engine, lambda connection: connection.execute(_COMPLETE, values), durable=False)


def load_audit(
    store: RunStore, *, before: int | None = None, limit: int = 100, actor: str | None = None
) -> list[AuditEntry]:
    """Return entries, the newest first; `before` is the number of the last one seen."""
    query = select(audit).order_by(audit.c.number.desc()).limit(limit)
    if before is not None:
        query = query.where(audit.c.number < before)
    if actor is not None:
        query = query.where(audit.c.actor == actor)
    with reading(store.engine) as connection:
        return [AuditEntry(**row._mapping) for row in connection.execute(query)]


def is_submitted(store: RunStore, submitted_by: str, idempotency_key: str) -> bool:
    """Tell whether the submitter used this idempotency key before."""
    with reading(store.engine) as connection:
        return load_submitted(connection, idempotency_key, submitted_by) is not None


def count_open_runs(store: RunStore, submitted_by: str) -> int:
    """Return how many queued runs of this submitter are waiting or running."""
    with reading(store.engine) as connection:
        return int(connection.execute(_OPEN, {"who": submitted_by}).scalar_one())
