"""The tables of searches: what is searched, trials, decisions at rungs, ends, looks at test rows."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Double, Index, Integer, String, Table, Text, UniqueConstraint

from finetune30.store.column_types import JsonTree, UtcDateTime
from finetune30.store.tables import metadata

#: Searches over configurations (`store.searches`); `config` is that of trial 0, `spec` the section `search:`.
searches = Table(
    "searches",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("name", String(200), nullable=False),
    Column("status", String(16), nullable=False),
    Column("reason", Text, nullable=False),  # why it ended; '' while it has not
    Column("kind", String(16), nullable=False),  # of its runs: queued, or local, in the process that drives it
    Column("request_sha256", String(64), nullable=False),
    Column("submitted_by", String(200), nullable=False),  # as that of its runs
    Column("priority", Integer, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("finished_at", UtcDateTime),
    Column("config", JsonTree, nullable=False),
    Column("explicit_keys", JsonTree, nullable=False),
    Column("dataset_digest", String(64), nullable=False),
    Column("spec", JsonTree, nullable=False),
    Column("metric", String(100), nullable=False),
    Column("greater_is_better", Boolean, nullable=False),
    Column("failures_from", Integer, nullable=False),  # failures in a row count from this trial on
    UniqueConstraint("submitted_by", "request_sha256"),
    Index("ix_searches_created", "created_at"),
    Index("ix_searches_status", "status"),
)

#: The trials of a search, each written before its run; what came of it is written once and never computed again.
search_trials = Table(
    "search_trials",
    metadata,
    Column("search_id", String(32), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("labels", JsonTree),  # of every parameter; null: trial 0, where the space does not hold the configuration
    Column("parameters", JsonTree, nullable=False),  # the values that differ from the configuration's by name
    Column("reused_from", Integer),  # the earlier trial whose run it shares, since the configuration is the same
    Column("versions", JsonTree, nullable=False),  # of what made the suggestion, where results hang on them
    Column("state", String(16), nullable=False),
    Column("value", Double),
    Column("reason", Text, nullable=False),  # why it has no value
    Column("size_bytes", BigInteger),  # of the folder of its run, once it has ended
    Column("model_removed", Boolean, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("finished_at", UtcDateTime),
    Column("stopped_at", Double),  # share of the steps; beside CANCELLED: STOPPED, unknown to releases before r0017
    Index("ix_search_trials_state", "state", "search_id"),
)

#: What was decided of trials at the rungs of a search (`store.search_rungs`), each written before it is acted upon.
search_rungs = Table(
    "search_rungs",
    metadata,
    Column("search_id", String(32), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("rung", Integer, primary_key=True, autoincrement=False),  # place of its share among `search.stop.at`
    Column("share", Double, nullable=False),
    Column("step", Integer, nullable=False),
    Column("total_steps", Integer, nullable=False),
    Column("value", Double),  # the metric of the search there; null: it was no number
    Column("verdict", String(16), nullable=False),  # promoted or stopped
    Column("reason", Text, nullable=False),
    Column("compared", JsonTree, nullable=False),  # rule, trials seen, line through them, noise, limit
    Column("seconds", Double, nullable=False),  # of the attempt that paused there; 0 where none did
    Column("decided_at", UtcDateTime, nullable=False),
)

#: Ends of searches (`store.search_ends`): the best after so many trials, repeated by two sets, and what is said of it.
search_ends = Table(
    "search_ends",
    metadata,
    Column("search_id", String(32), primary_key=True),
    Column("tried", Integer, primary_key=True, autoincrement=False),  # trials that there were
    Column("best", Integer, nullable=False),
    Column("default_set", String(32)),  # null: trial 0 is the best, and nothing is repeated
    Column("best_set", String(32)),
    Column("created_at", UtcDateTime, nullable=False),
    Column("judged_at", UtcDateTime),
    Column("verdict", JsonTree),
    Column("left_unopened", Text),  # why the test rows were not opened for it; null: they were, or are to be
    Index("ix_search_ends_judged", "judged_at", "search_id"),
)

#: Each opening of the test rows for a search, written before they are read; `count` is the how manyth of the search,
#: from 1, whichever end (`tried`) it was for.
search_tests = Table(
    "search_tests",
    metadata,
    Column("search_id", String(32), primary_key=True),
    Column("count", Integer, primary_key=True, autoincrement=False),
    Column("tried", Integer, nullable=False),
    Column("opened_at", UtcDateTime, nullable=False),
    Column("opened_by", String(200), nullable=False),
    Column("ended_at", UtcDateTime),
    Column("held_by", String(400)),  # the process that takes it (see process_identity)
    Column("held_until", UtcDateTime),  # renewed while it goes on; behind now, or null: it ended, or died
    Column("result", JsonTree),
    Column("error", JsonTree),
)
