"""The index of dataset versions: repeatable, and true about what runs refer to."""

from datetime import UTC, datetime

from sqlalchemy import select

from finetune30.data.versions.manifest import Chunk, Manifest
from finetune30.store.database import reading
from finetune30.store.dataset_versions import DatasetIndex
from finetune30.store.tables import dataset_tags, dataset_versions


def manifest_of(digest, note=""):
    chunks = {"train": (Chunk("ab", 3, 100), Chunk("cd", 4, 50)), "evaluation": (Chunk("ef", 2, 10),)}
    return Manifest(
        digest,
        datetime(2030, 1, 1, tzinfo=UTC),
        "regression",
        {"label_names": ["0", "1"]},
        chunks,
        {"name": "x"},
        note=note,
    )


def rows_in(store, table):
    with reading(store.engine) as connection:
        return [dict(row._mapping) for row in connection.execute(select(table))]


def test_recording_twice_keeps_one_entry_and_refreshes_it(lab):
    index = DatasetIndex(lab.store)
    index.record(manifest_of("a" * 64))
    index.record(manifest_of("a" * 64, note="better"))
    (row,) = rows_in(lab.store, dataset_versions)
    assert (row["train_rows"], row["evaluation_rows"], row["size_bytes"], row["note"]) == (7, 2, 160, "better")
    index.remove("a" * 64)
    assert rows_in(lab.store, dataset_versions) == []


def test_tag_moves_and_goes(lab):
    index = DatasetIndex(lab.store)
    index.record_tag("gold", "a" * 64)
    index.record_tag("gold", "b" * 64)
    assert rows_in(lab.store, dataset_tags) == [{"tag": "gold", "digest": "b" * 64}]
    index.record_tag("gold", None)
    assert rows_in(lab.store, dataset_tags) == []


def test_referenced_are_the_digests_of_runs(lab):
    index = DatasetIndex(lab.store)
    assert index.referenced() == frozenset()
    run = lab.create()
    claim = lab.store.claim(run.id, owner="elsewhere:boot:1:1", lease_seconds=60)
    lab.store.describe(claim, dataset_digest="c" * 64)
    assert index.referenced() == {"c" * 64}
    assert [(found["id"], found["name"], found["status"]) for found in index.runs_of("c" * 64)] == [
        (run.id, run.name, "RUNNING")
    ]
