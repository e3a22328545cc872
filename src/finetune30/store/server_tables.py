"""The table of servers: which of them answer under names of models, and with which version, as they say themselves."""

from __future__ import annotations

from sqlalchemy import Column, String, Table

from finetune30.store.column_types import JsonTree, UtcDateTime
from finetune30.store.tables import metadata

#: A row for each server that runs, or that ended without a word; it takes its own away when it is stopped.
servers = Table(
    "servers",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("owner", String(400), nullable=False),  # see process_identity
    Column("address", String(300), nullable=False),
    Column("started_at", UtcDateTime, nullable=False),
    Column("seen_at", UtcDateTime, nullable=False),
    Column("names", JsonTree, nullable=False),  # what each name leads to there: state, version, generation
)
