"""What the database knows about dataset versions: an index for listings and joins, and which of them runs refer to.

The data folder is the truth; every call may be repeated, and an entry that is missing is written again by the next
creation or listing.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Table, case, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from finetune30.data.versions.manifest import Manifest
from finetune30.store.database import reading, writing
from finetune30.store.records import RunStatus
from finetune30.store.run_store import RunStore
from finetune30.store.search_tables import searches
from finetune30.store.tables import dataset_tags, dataset_versions, run_sets, runs


class DatasetIndex:
    """The database side of a VersionStore (see `finetune30.data.versions.manifest.VersionIndex`)."""

    def __init__(self, store: RunStore) -> None:
        self._engine = store.engine

    def record(self, manifest: Manifest) -> None:
        """Add or refresh the entry of a version."""
        values = {
            "created_at": manifest.created_at,
            "name": str(manifest.source.get("name", "")),
            "problem_type": manifest.problem_type,
            "num_labels": len(manifest.label_names) or 1,
            "train_rows": manifest.rows.get("train", 0),
            "evaluation_rows": manifest.rows.get("evaluation", 0),
            "size_bytes": manifest.size_bytes,
            "parent": manifest.parent,
            "note": manifest.note,
        }
        with writing(self._engine) as connection:
            _put(connection, dataset_versions, "digest", manifest.digest, values)

    def record_tag(self, tag: str, digest: str | None) -> None:
        """Let a tag point at a version; None removes it."""
        with writing(self._engine) as connection:
            if digest is None:
                connection.execute(delete(dataset_tags).where(dataset_tags.c.tag == tag))
            else:
                _put(connection, dataset_tags, "tag", tag, {"digest": digest})

    def remove(self, digest: str) -> None:
        """Remove the entry of a version that is gone."""
        with writing(self._engine) as connection:
            connection.execute(delete(dataset_versions).where(dataset_versions.c.digest == digest))

    def referenced(self) -> frozenset[str]:
        """Return the digests that runs refer to, and sets of runs and searches, whose runs may not have begun."""
        with reading(self._engine) as connection:
            query = select(runs.c.dataset_digest).where(runs.c.dataset_digest.is_not(None)).distinct()
            found = set(connection.execute(query).scalars())
            for digest, plan in connection.execute(select(run_sets.c.dataset_digest, run_sets.c.plan)):
                found |= {digest, *(entry["dataset_digest"] for entry in plan)}
            found |= set(connection.execute(select(searches.c.dataset_digest)).scalars())
            return frozenset(found)

    def runs_of(self, digest: str) -> list[dict[str, Any]]:
        """Return the runs that were trained on a version: id, name, status, score and what it is.

        Those that finished come first, the best of each score before the others, then the newest.
        """
        chosen = [runs.c[name] for name in ("id", "name", "status", "score", "score_name", "score_format")]
        finished = case((runs.c.status == RunStatus.SUCCEEDED, 0), else_=1)
        unscored = case((runs.c.score_rank.is_(None), 1), else_=0)
        order = (finished, unscored, runs.c.score_name, runs.c.score_rank.desc(), runs.c.created_at.desc())
        with reading(self._engine) as connection:
            query = select(*chosen).where(runs.c.dataset_digest == digest).order_by(*order)
            return [dict(row) for row in connection.execute(query).mappings()]


def _put(connection: Connection, table: Table, key: str, value: str, values: dict[str, Any]) -> None:
    """Update the row of a key, or insert it; two writers at once both succeed."""
    change = update(table).where(table.c[key] == value).values(**values)
    if connection.execute(change).rowcount:
        return
    try:
        with connection.begin_nested():
            connection.execute(insert(table).values(**{key: value}, **values))
    except IntegrityError:  # somebody else inserted it in between
        connection.execute(change)
