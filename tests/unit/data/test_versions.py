"""Dataset versions: named by content, immutable, shared pieces, and nothing half after a kill."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Collection
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finetune30.config.data import DataConfig
from finetune30.data.prepare import prepare_data, record_version
from finetune30.data.versions.checkout import FORMATS, checkout_version
from finetune30.data.versions.chunks import cut_into_chunks
from finetune30.data.versions.compare import diff_versions
from finetune30.data.versions.storage import VersionStore
from finetune30.errors import ConflictError, NotFoundError, StorageError, UsageError
from finetune30.problems import choose_problem
from support.present import present

SCHEMA = {"text": pl.String, "text_pair": pl.String, "label": pl.String, "origin": pl.String}


class Index:
    """What the database would remember."""

    def __init__(self, used: Collection[str] = ()) -> None:
        self.digests: set[str] = set()
        self.tags: dict[str, str] = {}
        self.used = set(used)

    def record(self, manifest):
        self.digests.add(manifest.digest)

    def record_tag(self, tag, digest):
        self.tags[tag] = digest

    def remove(self, digest):
        self.digests.discard(digest)

    def referenced(self):
        return frozenset(self.used)


def rows_of(*rows: tuple[str, str]) -> pl.DataFrame:
    return pl.DataFrame(
        [(text, None, label, f"a.csv:{i}") for i, (text, label) in enumerate(rows, 2)], SCHEMA, orient="row"
    )


def create(store, train, evaluation=None, **more):
    splits = {"train": train} | ({} if evaluation is None else {"evaluation": evaluation})
    options = {
        "targets": {"label_names": ["0", "1"]},
        "problem_type": "single_label_classification",
        "source": {"name": "test"},
    }
    return store.create(splits, **(options | more))


def prepare(name, folder, **data):
    config = DataConfig(dataset_name=name, **data)
    return prepare_data(
        config, problem=choose_problem("auto"), num_labels=2, seed=7, log=lambda message: None, data_folder=folder
    )


def test_same_rows_are_one_version_and_other_rows_another(tmp_path):
    store = VersionStore(tmp_path, Index())
    first, is_new = create(store, rows_of(("a", "0"), ("b", "1")))
    again, is_new_again = create(store, rows_of(("a", "0"), ("b", "1")), note="later")
    other, _ = create(store, rows_of(("b", "1"), ("a", "0")))
    assert (is_new, is_new_again) == (True, False)
    assert first == again
    assert other.digest != first.digest
    assert store.load_rows(first, "train")["text"].to_list() == ["a", "b"]


def test_training_on_a_version_gives_the_digest_of_the_training_it_came_from(tmp_path):
    first = prepare("starter", tmp_path, train_samples=300, eval_samples=50)
    manifest = record_version(first, VersionStore(tmp_path))
    again = prepare(f"version:{manifest.digest[:10]}", tmp_path)
    assert manifest.digest == first.digest == again.digest
    assert again.train["text"].to_list() == first.train["text"].to_list()
    assert again.targets == first.targets


def test_names_resolve_by_beginning_and_tag(tmp_path):
    store = VersionStore(tmp_path, Index())
    first, _ = create(store, rows_of(("a", "0")))
    second, _ = create(store, rows_of(("b", "0")))
    store.tag("gold", first.digest[:8])
    assert store.resolve("gold") == first.digest
    with pytest.raises(ConflictError, match="points at version"):
        store.tag("gold", second.digest)
    store.tag("gold", second.digest, move=True)
    assert store.get("gold") == second
    with pytest.raises(NotFoundError, match="no dataset version 'silver'"):
        store.get("silver")
    with pytest.raises(UsageError, match="is no tag"):
        store.tag("../evil", first.digest)


def test_versions_share_the_pieces_they_have_in_common(tmp_path):
    store = VersionStore(tmp_path)
    rows = [(f"row number {index}", str(index % 2)) for index in range(100_000)]
    create(store, rows_of(*rows))
    before = {path.name for path in tmp_path.glob("chunks/*/*")}
    rows[50_000] = ("row number 50000", "1")
    create(store, rows_of(*rows))
    added = {path.name for path in tmp_path.glob("chunks/*/*")} - before
    assert len(before) > 5
    assert len(added) == 1


def test_chunks_add_up_and_survive_an_insertion():
    rows = rows_of(*[(f"row number {index}", "0") for index in range(60_000)])
    pieces = list(cut_into_chunks(rows))
    assert pl.concat(pieces).equals(rows)
    shifted = pl.concat([rows_of(("a new first row", "0")), rows])
    assert [piece["text"][-1] for piece in cut_into_chunks(shifted)] == [piece["text"][-1] for piece in pieces]


def test_diff_names_added_removed_relabelled_and_changed_rows(tmp_path):
    store = VersionStore(tmp_path)
    first, _ = create(store, rows_of(("same", "0"), ("relabelled", "0"), ("was this", "1"), ("goes", "1")))
    second, _ = create(
        store,
        pl.concat(
            [
                rows_of(("same", "0"), ("relabelled", "1"), ("is that", "1")),
                rows_of(("comes", "0")).with_columns(origin=pl.lit("b.csv:9")),
            ]
        ),
    )
    diff = diff_versions(store, first.digest, second.digest)
    assert diff.counts() == {"added": 1, "removed": 1, "relabelled": 1, "changed": 1, "unchanged": 1}
    found = {row["kind"]: row for row in diff.rows.to_dicts()}
    assert (found["relabelled"]["label_before"], found["relabelled"]["label"]) == ("0", "1")
    assert (found["changed"]["text_before"], found["changed"]["text"]) == ("was this", "is that")
    assert (found["removed"]["text"], found["added"]["text"]) == ("goes", "comes")


def test_verify_finds_a_changed_and_a_lost_piece(tmp_path):
    store = VersionStore(tmp_path)
    manifest, _ = create(store, rows_of(("a", "0")))
    assert store.verify(manifest.digest) == []
    (path,) = tmp_path.glob("chunks/*/*.parquet")
    rows_of(("b", "0")).write_parquet(path)
    assert "holds other rows" in store.verify(manifest.digest)[0]
    path.unlink()
    assert "missing or cannot be read" in store.verify(manifest.digest)[0]


def test_gc_keeps_what_runs_and_tags_refer_to_and_a_dry_run_removes_nothing(tmp_path):
    index = Index()
    store = VersionStore(tmp_path, index, clock=lambda: datetime(2030, 1, 1, tzinfo=UTC))
    used, tagged, loose = (create(store, rows_of((text, "0")))[0] for text in ("used", "tagged", "loose"))
    index.used = {used.digest}
    store.tag("keep", tagged.digest)
    (tmp_path / "chunks" / ".left.tmp").write_text("half")
    assert store.collect_garbage(keep_days=1, dry_run=False)["versions"] == []
    late = VersionStore(tmp_path, index, clock=lambda: datetime(2030, 1, 1, tzinfo=UTC) + timedelta(days=2))
    create(store, rows_of(("loose", "0")))
    planned = late.collect_garbage(keep_days=1, dry_run=True)
    assert planned["versions"] == [loose.digest]
    assert len(store.list_all()) == 3
    assert late.collect_garbage(keep_days=1, dry_run=False)["versions"] == [loose.digest]
    assert {manifest.digest for manifest in store.list_all()} == {used.digest, tagged.digest} == index.digests
    assert store.verify("keep") == store.verify(used.digest) == []
    assert not list(tmp_path.rglob("*.tmp"))


def test_gc_without_index_is_refused(tmp_path):
    with pytest.raises(StorageError, match="which versions runs need"):
        VersionStore(tmp_path).collect_garbage(keep_days=0, dry_run=True)


def test_damaged_manifest_is_named(tmp_path):
    store = VersionStore(tmp_path)
    manifest, _ = create(store, rows_of(("a", "0")))
    (path,) = tmp_path.glob("versions/*.json")
    path.write_text(path.read_text()[:50])
    with pytest.raises(StorageError, match="is damaged"):
        store.get(manifest.digest)


CREATE_ONCE = """
import sys
from pathlib import Path
import polars as pl
from finetune30.data.versions.storage import VersionStore
rows = pl.DataFrame({"text": [f"row {i}" for i in range(20000)]}).with_columns(
    text_pair=pl.lit(None, dtype=pl.String), label=pl.lit("0"), origin=pl.lit("a:1"))
sys.stdin.readline()
_, created = VersionStore(Path(sys.argv[1])).create(
    {"train": rows}, targets={"label_names": ["0"]}, problem_type="single_label_classification", source={})
print(created)
"""


def test_two_processes_creating_the_same_version_end_with_one(tmp_path):
    command = [sys.executable, "-c", CREATE_ONCE, str(tmp_path)]
    processes = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    for process in processes:
        present(process.stdin).write("go\n")
        present(process.stdin).flush()
    created = [process.communicate(timeout=600)[0].strip() for process in processes]
    assert sorted(created) == ["False", "True"]
    (manifest,) = VersionStore(tmp_path).list_all()
    assert VersionStore(tmp_path).verify(manifest.digest) == []


CREATE_FOREVER = """
import sys
from pathlib import Path
import polars as pl
from finetune30.data.versions.storage import VersionStore
store, number = VersionStore(Path(sys.argv[1])), 0
print("ready", flush=True)
while True:
    number += 1
    rows = pl.DataFrame({"text": [f"version {number} row {i}" for i in range(3000)]}).with_columns(
        text_pair=pl.lit(None, dtype=pl.String), label=pl.lit("0"), origin=pl.lit("a:1"))
    store.create({"train": rows}, targets={"label_names": ["0"]}, problem_type="single_label_classification", source={})
"""


def test_killed_create_leaves_nothing_half(tmp_path):
    for pause in (0.05, 0.11):
        process = subprocess.Popen([sys.executable, "-c", CREATE_FOREVER, str(tmp_path)], stdout=subprocess.PIPE)
        assert present(process.stdout).readline().strip() == b"ready"
        time.sleep(pause)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        present(process.stdout).close()
    store = VersionStore(tmp_path, Index())
    assert all(store.verify(manifest.digest) == [] for manifest in store.list_all())
    store.collect_garbage(keep_days=0, dry_run=False)
    assert [path for path in tmp_path.rglob("*") if path.is_file() and path.name != ".lock"] == []


def test_folder_that_cannot_be_made_is_a_storage_error(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(StorageError, match=r"cannot write a dataset version: .*file") as caught:
        record_version(prepare("starter", None), VersionStore(tmp_path / "file" / "store"))
    assert "permissions" in caught.value.remedy


@pytest.mark.parametrize("format_name", FORMATS)
def test_checkout_gives_files_that_make_the_same_version_again(tmp_path, format_name):
    first = prepare("starter", None, train_samples=100, eval_samples=20)
    store = VersionStore(tmp_path / "store")
    record_version(first, store)
    paths = checkout_version(store, first.digest, tmp_path / "out", format_name)
    assert [path.name for path in paths] == [f"train.{format_name}", f"validation.{format_name}"]
    assert prepare(str(tmp_path / "out"), None).digest == first.digest
    with pytest.raises(ConflictError, match="already there"):
        checkout_version(store, first.digest, tmp_path / "out", format_name)
    with pytest.raises(ConflictError, match="is a file, not a folder"):
        checkout_version(store, first.digest, paths[0], format_name)


def test_manifest_says_how_the_version_was_made(tmp_path):
    manifest = record_version(prepare("starter", None), VersionStore(tmp_path), note="first try")
    tree = json.loads((tmp_path / "versions" / f"{manifest.digest}.json").read_text())
    assert tree["note"] == "first try"
    assert tree["source"]["name"] == "starter"
    assert tree["recipe"] == [{"step": "remove_html"}, {"step": "control_characters"}]
    assert tree["rows"] == {"train": 864, "evaluation": 216}
    assert tree["statistics"]["label_counts"] == {"negative": 432, "positive": 432}


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


@settings(max_examples=25, deadline=None)
@given(rows=st.lists(st.tuples(texts, st.sampled_from(["0", "1"])), min_size=1, max_size=12))
def test_rows_come_back_as_they_were_stored(rows, tmp_path_factory):
    store = VersionStore(tmp_path_factory.mktemp("versions"))
    frame = rows_of(*rows)
    manifest, _ = create(store, frame)
    assert store.load_rows(manifest, "train").equals(frame)
    assert store.verify(manifest.digest) == []
