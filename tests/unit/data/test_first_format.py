"""Versions of format 1, as a user has them: read, compared, checked out and stored again under the digests they had."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import polars as pl
import pytest

from finetune30.config.data import DataConfig
from finetune30.data.prepare import prepare_data
from finetune30.data.versions.checkout import checkout_version
from finetune30.data.versions.compare import diff_versions
from finetune30.data.versions.manifest import FORMAT, WITH_GROUPS_FORMAT, Manifest
from finetune30.data.versions.schema import FIRST_SCHEMA
from finetune30.data.versions.storage import VersionStore
from finetune30.errors import StorageError
from finetune30.problems import choose_problem
from finetune30.service.datasets.relabel import relabel_rows
from support.first_format import FIXTURE, SETS, Set

#: As the tree of that time named them; the class names are in the order of the class ids.
DIGESTS = {
    "single-before": "0cdf6bc769b43b1f69fa9b5ccad1ef6a976dce03856bf6b6ec12f194bb9f1184",
    "multi-before": "d02e2acb3d3181356d30650beb32506c568c3a64b76fb749aecf8794dd75f164",
    "regression-before": "56daeb28faf34015aa3d8bf2549212d3a562718abe5f759eee3ae013843c3b66",
    "pair-before": "98eaed3849753fad6065af25c3f4c9dfc0a5c526ba14f49d42085da66e530de8",
}
NAMES = {"single": ("bad", "good"), "multi": ("people", "room", "speed"), "regression": (), "pair": ("no", "yes")}


@pytest.fixture
def store(tmp_path: Path) -> VersionStore:
    """A copy of the store, which may be written to."""
    shutil.copytree(FIXTURE / "store", tmp_path / "store")
    return VersionStore(tmp_path / "store")


def stored_rows(manifest: Manifest, store: VersionStore) -> dict[str, pl.DataFrame]:
    return {split: store.load_rows(manifest, split) for split in manifest.chunks}


def as_stored(one: Set, cells: tuple[str, ...]) -> tuple[str | None, str | None, str]:
    """The cells of a row of the CSV as (text, text_pair, label) of a version."""
    label = json.dumps(cells[-1].split("|")) if one.name == "multi" else cells[-1]
    return cells[0], cells[1] if len(cells) == 3 else None, label


def test_every_version_is_listed_with_the_columns_it_always_had(store):
    found = store.list_all()
    assert len(found) == 2 * len(SETS)
    assert {manifest.format for manifest in found} == {1}
    assert all(manifest.schema == FIRST_SCHEMA for manifest in found)
    assert {tag: store.resolve(tag) for tag in DIGESTS} == DIGESTS


@pytest.mark.parametrize("one", SETS, ids=lambda one: one.name)
@pytest.mark.parametrize("state", ["before", "after"])
def test_rows_and_names_are_those_that_were_stored(store, one, state):
    manifest = store.get(f"{one.name}-{state}")
    rows = store.load_rows(manifest, "train")
    assert rows.select("text", "text_pair", "label").rows() == [as_stored(one, cells) for cells in getattr(one, state)]
    assert rows["origin"].to_list() == [f"{one.name}.csv:{line}" for line in range(2, 6)]
    assert (manifest.label_names, manifest.note, manifest.rows) == (
        NAMES[one.name],
        state,
        {"train": 4, "evaluation": 2},
    )


def test_digests_are_computed_anew_by_the_same_bytes(store):
    assert [store.verify(digest) for digest in store.digests()] == [[]] * 8
    for manifest in store.list_all():
        options = {"problem_type": manifest.problem_type, "source": {}}
        again, is_new = store.create(stored_rows(manifest, store), targets=manifest.targets, **options)
        assert (again, is_new) == (manifest, False)


def test_pieces_are_shared_between_the_formats(store, tmp_path):
    manifest = store.get("pair-before")
    options = {"problem_type": manifest.problem_type, "source": {}, "targets": manifest.targets}
    later, is_new = VersionStore(tmp_path / "other").create(stored_rows(manifest, store), **options)
    assert (later.digest, is_new, later.format) == (manifest.digest, True, FORMAT)
    assert {split: [c.digest for c in chunks] for split, chunks in later.chunks.items()} == {
        split: [c.digest for c in chunks] for split, chunks in manifest.chunks.items()
    }


@pytest.mark.parametrize("one", SETS, ids=lambda one: one.name)
def test_differences_of_the_two_states_are_found(store, one):
    diff = diff_versions(store, f"{one.name}-before", f"{one.name}-after")
    # The third row has another text and the fourth is another one at the line of the one that left: both are changed.
    assert diff.counts() == {"added": 0, "removed": 0, "relabelled": 1, "changed": 2, "unchanged": 3}
    relabelled = diff.rows.filter(kind="relabelled").row(0, named=True)
    before, after = as_stored(one, one.before[1]), as_stored(one, one.after[1])
    assert (relabelled["text"], relabelled["label_before"], relabelled["label"]) == (before[0], before[2], after[2])


def test_second_text_that_was_changed_is_shown_as_it_was(store):
    (row,) = diff_versions(store, "pair-before", "pair-after").rows.filter(origin="pair.csv:4").to_dicts()
    assert (row["text_pair_before"], row["text_pair"]) == ("very good, 很好", "good, 很好")


@pytest.mark.parametrize(
    ("name", "label", "stored"),
    [("single", "good", "good"), ("multi", '["speed","people"]', '["people", "speed"]'), ("regression", "7", "7")],
)
def test_relabelled_version_is_of_the_new_format_and_compares_with_the_one_before(store, name, label, stored):
    change = {"split": "train", "index": 1, "label": label}
    made = relabel_rows(store, f"{name}-before", [change])
    manifest = store.get(made["digest"])
    assert (manifest.format, manifest.parent, made["changed"]) == (FORMAT, store.resolve(f"{name}-before"), 1)
    assert store.load_rows(manifest, "train")["label"][1] == stored
    assert store.verify(made["digest"]) == []
    counts = diff_versions(store, f"{name}-before", made["digest"]).counts()
    assert counts == {"added": 0, "removed": 0, "relabelled": 1, "changed": 0, "unchanged": 5}
    (one,) = (one for one in SETS if one.name == name)
    back = {**change, "label": as_stored(one, one.before[1])[2]}
    assert relabel_rows(store, made["digest"], [back])["digest"] == manifest.parent


@pytest.mark.parametrize("one", SETS, ids=lambda one: one.name)
def test_training_on_a_version_sees_its_rows_under_its_digest(store, one, tmp_path):
    config = DataConfig(dataset_name=f"version:{one.name}-after")
    prepared = prepare_data(
        config,
        problem=choose_problem("regression" if one.name == "regression" else "auto"),
        num_labels=len(NAMES[one.name]) or 1,
        seed=7,
        log=lambda _: None,
        data_folder=store.folder,
    )
    assert prepared.digest == store.resolve(f"{one.name}-after")
    checkout_version(store, f"{one.name}-after", tmp_path / "out", "jsonl")
    written = [json.loads(line) for line in (tmp_path / "out" / "train.jsonl").read_text(encoding="utf-8").splitlines()]
    wanted = [as_stored(one, cells) for cells in one.after]
    assert [(row["text"], row.get("text_pair"), row["label"]) for row in written] == wanted
    assert ("text_pair" in written[0]) == (one.name == "pair")


def test_manifest_of_a_newer_format_is_refused_by_its_number(store):
    digest = store.resolve("single-before")
    path = store.folder / "versions" / f"{digest}.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": WITH_GROUPS_FORMAT + 1}))
    with pytest.raises(StorageError, match=r"written by a newer finetune30 \(format 5\)") as caught:
        store.get("single-before")
    assert caught.value.remedy == "update finetune30"
