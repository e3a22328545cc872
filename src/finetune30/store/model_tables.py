"""The tables of models: names, immutable versions, aliases that move, and every change, which nothing may alter."""

from __future__ import annotations

from sqlalchemy import Column, Index, Integer, String, Table, Text, UniqueConstraint

from finetune30.store.column_types import EventNumber, JsonTree, UtcDateTime
from finetune30.store.tables import metadata

models = Table(
    "models",
    metadata,
    Column("name", String(63), primary_key=True),
    Column("problem_type", String(40), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("created_by", String(200), nullable=False),
)

#: Never changed but for `state`: what a version is, is addressed by the sha256 sums.
model_versions = Table(
    "model_versions",
    metadata,
    Column("model", String(63), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("run_id", String(32), nullable=False),
    Column("state", String(16), nullable=False),
    Column("manifest_sha256", String(64), nullable=False),
    Column("adapter_sha256", String(64), nullable=False),
    Column("labels_sha256", String(64), nullable=False),
    Column("base_sha256", String(64), nullable=False),
    Column("version_sha256", String(64), nullable=False),  # of version.json, which names every file
    Column("facts", JsonTree, nullable=False),  # what is shown and searched: base, data, score …
    Column("newer_state", String(16)),  # one that releases before r0016 do not know; they read RETIRED
    Column("certificate", JsonTree),
    Column("created_at", UtcDateTime, nullable=False),
    Column("created_by", String(200), nullable=False),
    UniqueConstraint("model", "manifest_sha256"),
)
Index("ix_model_versions_run_id", model_versions.c.run_id)

#: `generation` grows with every move, so that who moves a pointer can say which one they saw.
model_aliases = Table(
    "model_aliases",
    metadata,
    Column("model", String(63), primary_key=True),
    Column("alias", String(63), primary_key=True),
    Column("number", Integer, nullable=False),
    Column("generation", Integer, nullable=False),
    Column("moved_at", UtcDateTime, nullable=False),
    Column("moved_by", String(200), nullable=False),
)

model_events = Table(
    "model_events",
    metadata,
    Column("number", EventNumber, primary_key=True, autoincrement=True),
    Column("model", String(63), nullable=False),
    Column("at", UtcDateTime, nullable=False),
    Column("kind", String(32), nullable=False),
    Column("version", Integer),
    Column("from_version", Integer),
    Column("alias", String(63)),
    Column("generation", Integer),
    Column("actor", String(200), nullable=False),
    Column("reason", Text),
    Column("detail", JsonTree),
    Index("ix_model_events_of_model", "model", "number"),
    sqlite_autoincrement=True,
)
