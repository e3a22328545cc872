"""The tables of the run database, the same on SQLite and PostgreSQL.

`runs` holds one row a run, `run_events` every change of one (the database itself refuses to alter or delete an event),
`tombstones` the runs that were deleted but whose folder is not purged yet, `workers` who was heard of, `api_keys` who
may call the API, `audit` what was changed through it, `test_looks` who opened test rows, `run_sets` runs that belong
together. Those of searches, models, mirrors and servers are in `search_tables`, `model_tables`, `mirror_tables` and
`server_tables`. The schema is made by the migrations beside this file; a test holds both to one shape.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    false,
    text,
)

from finetune30.store.column_types import EventNumber, JsonTree, UtcDateTime

metadata = MetaData(naming_convention={"ix": "ix_%(column_0_label)s", "uq": "uq_%(table_name)s_%(column_0_name)s"})

runs = Table(
    "runs",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("name", String(200), nullable=False),
    Column("name_key", String(400), nullable=False),  # case-folded, for search and sorting
    Column("status", String(16), nullable=False),
    Column("kind", String(16), nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("failures", Integer, nullable=False),  # attempts lost since the last time a person queued the run
    Column("lease_owner", String(400)),
    Column("lease_until", UtcDateTime),
    Column("cancel_requested", Boolean, nullable=False),
    Column("priority", Integer, nullable=False),
    Column("folder", String(400), nullable=False),
    Column("config", JsonTree, nullable=False),
    Column("config_digest", String(64), nullable=False),
    Column("model_name", Text),
    Column("dataset_name", Text),
    Column("dataset_digest", String(128)),
    Column("device", String(64)),
    Column("precision", String(16)),
    Column("created_at", UtcDateTime, nullable=False),
    Column("queued_at", UtcDateTime, nullable=False),
    Column("published_at", UtcDateTime),  # last time a queue message was sent for this run
    Column("started_at", UtcDateTime),
    Column("finished_at", UtcDateTime),
    Column("train_runtime", Double),
    Column("eval_accuracy", Double),  # beside the score for readers of the release before, as eval_f1 is
    Column("eval_f1", Double),
    Column("eval_loss", Double),
    Column("metrics", JsonTree),
    Column("error", JsonTree),
    Column("progress", JsonTree),
    Column("manifest_sha256", String(64)),
    Column("submitted_by", String(200), nullable=False),  # '' for a person at this machine
    Column("idempotency_key", String(255)),
    Column("request_sha256", String(64)),
    Column("explicit_keys", JsonTree),  # dotted keys that the submitter named: a fallback leaves those alone
    Column("score", Double),  # the one figure that "best", listings, filters and trends use
    Column("score_name", String(100)),  # its key in the metrics
    Column("score_greater_is_better", Boolean),
    Column("score_rank", Double),  # the score, its sign turned where less is better
    Column("score_format", String(20)),  # how it is written: percent or number
    # What people write on a run; nothing that a run does depends on it. `name` and `name_key` may change as well.
    Column("note", Text, nullable=False, server_default=text("''")),
    Column("tags", Text, nullable=False, server_default=text("''")),  # as `queries.join_tags` writes them
    Column("starred", Boolean, nullable=False, server_default=false()),
    Column("archived", Boolean, nullable=False, server_default=false()),
    Column(
        "edits", Integer, nullable=False, server_default="0"
    ),  # changes by people so far: who edits says which they saw
    Column("places", Integer, nullable=False, server_default="1"),  # of one worker, taken all or none
    # Share of the steps: the first evaluation from there on ends the attempt, and the run waits to be decided on.
    Column("pause_at", Double),
    Column("paused_at", UtcDateTime),  # of a CANCELLED run that is PAUSED; see RunStatus.stored
    Column("paused", JsonTree),  # where it paused: step, total_steps, the numbers of that evaluation
    UniqueConstraint("folder"),
    UniqueConstraint("submitted_by", "idempotency_key"),
)

# One index an order of the listing. Each holds every column whose values a filter compares, so that a page is found in
# the index alone and only its rows are fetched from the table; names that are compared whole are left out, since every
# byte here makes a search through all runs slower.
_FILTERED = ("status", "eval_accuracy", "train_runtime", "name_key", "score", "archived", "starred", "tags")


def _listing_index(name: str, *keys: str) -> Index:
    return Index(name, *(runs.c[key] for key in dict.fromkeys((*keys, "created_at", "id", *_FILTERED))))


LISTING_INDEXES = (
    _listing_index("ix_runs_by_created"),
    _listing_index("ix_runs_by_name", "name_key"),
    _listing_index("ix_runs_by_runtime", "train_runtime"),
    _listing_index("ix_runs_by_accuracy", "eval_accuracy"),
    _listing_index("ix_runs_by_status", "status"),
    _listing_index("ix_runs_by_score", "score_name", "score_rank"),
)
Index("ix_runs_paused", runs.c.paused_at)
Index("ix_runs_totals", runs.c.status, runs.c.eval_accuracy, runs.c.train_runtime)
Index(
    "ix_runs_best", runs.c.dataset_digest, runs.c.score_name, runs.c.score_rank, runs.c.created_at, runs.c.id
)  # the best run of each data version and score
Index("ix_runs_tags", runs.c.tags, runs.c.archived)  # which tags there are, and how many runs are archived
Index("ix_runs_name", runs.c.name, runs.c.created_at)
Index("ix_runs_served", runs.c.submitted_by, runs.c.kind, runs.c.started_at)  # when a submitter last got a place
# The queue, by submitter and in the order of each; it holds all that the order of work is derived from.
Index(
    "ix_runs_waiting",
    runs.c.status,
    runs.c.kind,
    runs.c.submitted_by,
    runs.c.priority.desc(),
    runs.c.queued_at,
    runs.c.id,
    runs.c.cancel_requested,
    runs.c.places,
)

run_events = Table(
    "run_events",
    metadata,
    Column("number", EventNumber, primary_key=True, autoincrement=True),
    Column("run_id", String(32), nullable=False),
    Column("at", UtcDateTime, nullable=False),
    Column("kind", String(32), nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("from_status", String(16)),
    Column("to_status", String(16)),
    Column("owner", String(400)),
    Column("detail", JsonTree),
    Index("ix_run_events_of_run", "run_id", "number"),
    sqlite_autoincrement=True,
)

tombstones = Table(
    "tombstones",
    metadata,
    Column("run_id", String(32), primary_key=True),
    Column("name", String(200), nullable=False),
    Column("folder", String(400), nullable=False),
    Column("deleted_at", UtcDateTime, nullable=False),
)

workers = Table(
    "workers",
    metadata,
    Column("owner", String(400), primary_key=True),
    Column("node", String(200), nullable=False),
    Column("slots", JsonTree, nullable=False),
    Column("started_at", UtcDateTime, nullable=False),
    Column("seen_at", UtcDateTime, nullable=False),
    Column("version", String(40)),  # of its package; null from before r0009
    Column("draining", Boolean, nullable=False, server_default=false()),  # takes nothing new, ends with its attempts
    Column("refused", JsonTree),  # run id -> why its version cannot carry the run out
)

#: The revisions that were applied; a package accepts those that it does not know while they are additive.
schema_revisions = Table(
    "schema_revisions",
    metadata,
    Column("revision", String(100), primary_key=True),
    Column("additive", Boolean, nullable=False),
    Column("package_version", String(40)),  # that applied it; null, as the time, from before r0009
    Column("applied_at", UtcDateTime),
)

#: Which results and data folder (`kind`) belong to this database, by the id in their mark; where each was used first.
folders = Table(
    "folders",
    metadata,
    Column("kind", String(16), primary_key=True),
    Column("id", String(32), nullable=False),
    Column("host", String(255), nullable=False),
    Column("path", Text, nullable=False),
)

#: Who opened the test rows of a run, and what came of it (`store.test_looks`).
test_looks = Table(
    "test_looks",
    metadata,
    Column("number", EventNumber, primary_key=True, autoincrement=True),
    Column("run_id", String(32), nullable=False),
    Column("opened_at", UtcDateTime, nullable=False),
    Column("opened_by", String(200), nullable=False),  # '' for a person at this machine
    Column("ended_at", UtcDateTime),  # null: it goes on, or died
    Column("held_by", String(400)),  # the process that takes it (see process_identity)
    Column("held_until", UtcDateTime),  # renewed while it goes on; behind now, or null: it ended, or died
    Column("result", JsonTree),
    Column("error", JsonTree),
    Column("verdict", JsonTree),  # of looks at two runs at once: how they compare
    Index("ix_test_looks_of_run", "run_id", "number"),
    sqlite_autoincrement=True,
)

#: Runs that belong together (`store.run_sets`); `config` is theirs, `plan` what is each one's own.
run_sets = Table(
    "run_sets",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("name", String(200), nullable=False),
    Column("purpose", String(16), nullable=False),
    Column("request_sha256", String(64), nullable=False),
    Column("submitted_by", String(200), nullable=False),  # as that of its runs
    Column("created_at", UtcDateTime, nullable=False),
    Column("config", JsonTree, nullable=False),
    Column("dataset_digest", String(64), nullable=False),
    Column("plan", JsonTree, nullable=False),
    UniqueConstraint("submitted_by", "request_sha256"),
    Index("ix_run_sets_created", "created_at"),
)

#: An index of the dataset versions in the data folder, which stays the truth about them.
dataset_versions = Table(
    "dataset_versions",
    metadata,
    Column("digest", String(64), primary_key=True),
    Column("created_at", UtcDateTime, nullable=False),
    Column("name", Text, nullable=False),
    Column("problem_type", String(40), nullable=False),
    Column("num_labels", Integer, nullable=False),
    Column("train_rows", Integer, nullable=False),
    Column("evaluation_rows", Integer, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("parent", String(64)),
    Column("note", Text, nullable=False),
)
Index("ix_dataset_versions_created", dataset_versions.c.created_at)

dataset_tags = Table(
    "dataset_tags",
    metadata,
    Column("tag", String(80), primary_key=True),
    Column("digest", String(64), nullable=False),
)
Index("ix_dataset_tags_digest", dataset_tags.c.digest)

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", String(12), primary_key=True),
    Column("name", String(100), nullable=False),
    Column("role", String(16), nullable=False),
    Column("digest", String(64), nullable=False),  # sha256 of the key; the key itself is nowhere
    Column("created_at", UtcDateTime, nullable=False),
    Column("revoked_at", UtcDateTime),
    # A role that releases before r0011 do not know; `role` is then what their processes let the key do.
    Column("newer_role", String(16)),
    UniqueConstraint("name"),
    UniqueConstraint("digest"),
)

audit = Table(
    "audit",
    metadata,
    Column("number", EventNumber, primary_key=True, autoincrement=True),
    Column("at", UtcDateTime, nullable=False),
    Column("actor", String(200), nullable=False),
    Column("role", String(16), nullable=False),
    Column("action", String(100), nullable=False),
    Column("target", Text, nullable=False),
    Column("outcome", Integer, nullable=False),  # HTTP status, 102 until it is known; 0: from the command line
    Column("client", String(200), nullable=False),
    sqlite_autoincrement=True,
)
Index("ix_runs_open", runs.c.submitted_by, runs.c.status)
Index("ix_run_events_kind", run_events.c.kind)
