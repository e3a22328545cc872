"""The tables of mirrors: which trackers are followed, and how far each run was carried to each of them."""

from __future__ import annotations

from sqlalchemy import Column, Index, Integer, String, Table, Text

from finetune30.store.column_types import JsonTree, UtcDateTime
from finetune30.store.tables import metadata

#: The trackers that are followed: runs queued from `since` on are carried there by themselves.
mirrors = Table(
    "mirrors",
    metadata,
    Column("name", String(16), primary_key=True),
    Column("since", UtcDateTime, nullable=False),
    Column("looked_at", UtcDateTime),
    Column("error", Text),  # why the tracker could not be reached in the last look
    Column("followed_by", String(400)),  # the process that follows it, or did
    Column("seen_at", UtcDateTime),  # when that process last said so
    Column("fault", Text),  # what ended its thread by itself the last time; it was started again
    Column("fault_at", UtcDateTime),
)

#: `run_id` may also be that of the search or set under which a tracker keeps its runs.
mirror_cursors = Table(
    "mirror_cursors",
    metadata,
    Column("run_id", String(32), primary_key=True),
    Column("mirror", String(16), primary_key=True),
    Column("target", Text, nullable=False),  # the folder or address; another one begins from the start
    Column("generation", Integer, nullable=False),  # grows when what lies there is left behind and begun again
    Column("remote", JsonTree),  # by which the tracker knows the run; null: not there yet
    Column("attempt", Integer, nullable=False),  # whose history was carried
    Column("records", Integer, nullable=False),  # so many of its first records
    Column("told", String(64), nullable=False),  # state, attempt and edits that the tracker was told; '' none
    Column("failures", Integer, nullable=False),  # in a row
    Column("error", Text),  # what the tracker refused
    Column("try_at", UtcDateTime),  # not before, after a failure
    Column("held_by", String(400)),
    Column("held_until", UtcDateTime),
    Column("updated_at", UtcDateTime, nullable=False),
    Column("stopped_at", UtcDateTime),  # a person took the run off this mirror
    Index("ix_mirror_cursors_mirror", "mirror", "told"),
)
