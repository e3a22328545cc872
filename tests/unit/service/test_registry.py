"""Versions of models: their files, cards and search, and what promoting one says."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from finetune30.data.versions.storage import VersionStore
from finetune30.errors import ConflictError, NotFoundError, StaleGenerationError, StorageError, UsageError
from finetune30.modeling.published_base import find_local_base
from finetune30.service.registry import promotion
from finetune30.service.registry.promotion import preview_promotion, promote, roll_back
from finetune30.service.registry.registering import load_card, load_version, register_run, verify_version
from finetune30.service.registry.search import ModelQuery, search_models
from finetune30.service.runs.asked_texts import texts_of
from finetune30.service.runs.details import require_intact_model
from finetune30.service.runs.kept_copies import find_version_faults
from finetune30.service.runs.open_records import Records
from finetune30.store.annotations import RunEdit, edit_run
from finetune30.store.model_records import ModelVersion
from finetune30.store.model_registry import find_events, find_model, move_alias, retire_version
from support.registered import NAMES, finish_model_run, register_ready
from support.run_store_lab import Lab


@pytest.fixture
def records(tmp_path: Path) -> Iterator[Records]:
    lab = Lab(f"sqlite:///{tmp_path}/results/experiments.db", tmp_path / "results")
    yield Records(lab.store, lab.results)
    lab.store.close()


def register(
    records: Records, name: str = "trial", model: str = "reviews", wrong: tuple[int, ...] = ()
) -> ModelVersion:
    run = finish_model_run(records.store, records.results_root, name, wrong=wrong)
    return register_ready(records.store, records.results_root, run, model)


def folder_of(records: Records, version: ModelVersion) -> Path:
    return records.results_root / "registry" / version.model / f"v{version.number}"


def test_a_version_holds_what_the_run_published_and_no_place_on_this_machine(records: Records) -> None:
    version = register(records)
    folder = folder_of(records, version)
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert {"CARD.md", "version.json", "metrics.json", "predictions.parquet"} < names
    assert not {"config.yaml", "logs.txt", "data_report.json"} & names
    run = records.folder(records.store.get(version.run_id))
    adapter = "artifacts/final_model/adapter_model.safetensors"
    assert (folder / adapter).samefile(run.path / adapter)
    told = json.loads((folder / "version.json").read_text(encoding="utf-8"))
    assert (told["model"], told["number"], told["adapter_sha256"]) == ("reviews", 1, version.adapter_sha256)
    for path in folder.rglob("*"):
        if path.is_file():
            assert str(records.results_root).encode() not in path.read_bytes()
    assert verify_version(records, version) == len(told["files"])


def test_files_are_copied_where_links_are_impossible(records: Records, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError("no links here")

    run = finish_model_run(records.store, records.results_root)
    monkeypatch.setattr(os, "link", refuse)
    version, _ = register_run(records, run.id, "reviews", VersionStore(records.results_root / "data"), actor="anna")
    monkeypatch.undo()
    adapter = folder_of(records, version) / "artifacts/final_model/adapter_model.safetensors"
    assert not adapter.samefile(records.folder(run).final_model / adapter.name)
    assert verify_version(records, version) > 0


@pytest.mark.parametrize(
    "name", ["artifacts/final_model/labels.json", "predictions.parquet", "CARD.md", "version.json"]
)
def test_verifying_finds_a_byte_that_changed(records: Records, name: str) -> None:
    version = register(records)
    path = folder_of(records, version) / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(StorageError, match=name.replace(".", r"\.")):
        verify_version(records, version)
    path.unlink()
    with pytest.raises(StorageError, match="is missing"):
        verify_version(records, version)


def test_a_run_with_damaged_files_or_without_a_model_becomes_no_version(records: Records) -> None:
    run = finish_model_run(records.store, records.results_root)
    path = records.folder(run).final_model / "labels.json"
    path.write_text(path.read_text(encoding="utf-8") + " ", encoding="utf-8")
    versions = VersionStore(records.results_root / "data")
    with pytest.raises(StorageError, match=r"labels\.json"):
        register_run(records, run.id, "reviews", versions, actor="anna")
    assert not (records.results_root / "registry").exists()
    with pytest.raises(NotFoundError):
        register_run(records, "nothing", "reviews", versions, actor="anna")
    for name in ("../reviews", "Reviews", ""):
        with pytest.raises(UsageError, match="no name for a model"):
            register_run(records, run.id, name, versions, actor="anna")


def test_promoting_tells_and_records_how_the_versions_compare(records: Records) -> None:
    register(records, "first", wrong=(0, 1, 2, 3, 4, 5, 6, 7))
    register(records, "second")
    first = promote(records, "reviews", 1, "production", reason="a start", actor="anna")
    assert first.paired["message"] == "nothing was there to compare with"
    preview = preview_promotion(records, "reviews", 2, "production")
    assert preview.alias is not None
    assert preview.alias.generation == 1
    found = promote(records, "reviews", 2, "production", reason="better", actor="ben", seen=1)
    assert found.paired == preview.paired
    assert found.paired["distinguishable"]
    assert (found.paired["against"], found.paired["only_second_right"], found.paired["rows"]) == (1, 8, 12)
    event = find_events(records.store, "reviews")[-1]
    assert (event.kind, event.actor, event.reason, event.from_version) == ("promoted", "ben", "better", 1)
    assert event.detail == {"paired": found.paired}
    move = roll_back(records, "reviews", "production", reason="wrong answers", actor="anna")
    assert (move.alias.number, move.alias.generation) == (1, 3)


@pytest.mark.parametrize("seen", [None, 1, 2])
def test_an_event_holds_no_test_against_a_version_that_was_replaced_meanwhile(
    records: Records, monkeypatch: pytest.MonkeyPatch, seen: int | None
) -> None:
    """Somebody moves the alias while the versions are compared, also to the very generation that was expected."""
    for name in ("first", "second", "third"):
        register(records, name)
    promote(records, "reviews", 1, "production", reason="a start", actor="anna")
    compare, said = promotion.compare_versions, ("reviews", "production", 2)

    def compare_slowly(*given: Any) -> dict[str, Any]:
        found = compare(*given)
        move_alias(records.store, *said, seen=1, actor="ben", reason="faster")
        return found

    monkeypatch.setattr(promotion, "compare_versions", compare_slowly)
    now = 1 if seen == 2 else 2  # who expects what is to come is refused before anything is compared
    with pytest.raises(StaleGenerationError, match=f"has generation {now}, not {seen or 1}"):
        promote(records, "reviews", 3, "production", reason="better", actor="anna", seen=seen)
    assert [one.number for one in find_model(records.store, "reviews").aliases] == [now]


def test_promoting_says_that_a_version_answers_with_other_labels(records: Records) -> None:
    register(records, "first")
    run = finish_model_run(records.store, records.results_root, "second", labels=("no", "maybe"))
    register_ready(records.store, records.results_root, run, "reviews")
    promote(records, "reviews", 1, "production", reason="a start", actor="anna")
    found = preview_promotion(records, "reviews", 2, "production")
    assert found.paired["message"].startswith("it answers with other labels: without yes, with maybe; ")


def test_a_version_answers_from_its_copy_once_the_folder_of_its_run_is_gone(records: Records) -> None:
    first = register(records, "first", wrong=(0, 1, 2, 3, 4, 5, 6, 7))
    second = register(records, "second")
    for version in (first, second):
        run = records.store.get(version.run_id)
        shutil.rmtree(records.folder(run).path)
        assert verify_version(records, version) > 0
        assert require_intact_model(records, run) == folder_of(records, version) / "artifacts/final_model"
        assert texts_of(records, run).columns == {"text": "text"}
    promote(records, "reviews", 1, "production", reason="a start", actor="anna")
    assert promote(records, "reviews", 2, "production", reason="better", actor="anna").paired["rows"] == 12
    (folder_of(records, second) / "artifacts/final_model/labels.json").write_bytes(b"{}")
    for check in (
        lambda: verify_version(records, second),
        lambda: require_intact_model(records, records.store.get(second.run_id)),
    ):
        with pytest.raises(StorageError, match=r"^reviews:2: artifacts/final_model/labels\.json has 2 bytes"):
            check()


def test_of_two_copies_the_one_that_is_whole_answers(records: Records) -> None:
    version = register(records)
    run = records.store.get(version.run_id)
    other = register_ready(records.store, records.results_root, run, "others")
    assert (version.run_id, version.name) == (other.run_id, "reviews:1")
    shutil.rmtree(records.folder(run).path)
    adapter = "artifacts/final_model/adapter_model.safetensors"
    (folder_of(records, version) / adapter).unlink()
    assert require_intact_model(records, run) == (folder_of(records, other) / adapter).parent


def test_a_copy_says_where_a_base_that_is_a_folder_lies_or_that_nobody_knows(records: Records, tmp_path: Path) -> None:
    """Versions of before keep no note of it."""
    run = finish_model_run(records.store, records.results_root, base="own-base")
    base, note = tmp_path / "own-base", "artifacts/base_model.json"
    base.mkdir()
    (records.folder(run).path / note).write_text(json.dumps({"folder": str(base)}), encoding="utf-8")
    version = register_ready(records.store, records.results_root, run, "reviews")
    assert note not in json.loads((folder_of(records, version) / "version.json").read_text(encoding="utf-8"))["files"]
    shutil.rmtree(records.folder(run).path)
    assert find_local_base(require_intact_model(records, run)) == base
    (folder_of(records, version) / note).unlink()
    assert verify_version(records, version) > 0
    with pytest.raises(StorageError, match=r"the run of reviews:1 is gone, .* base model 'own-base' lies"):
        require_intact_model(records, run)


@pytest.mark.parametrize("place", ["version", "run"])
def test_a_damaged_version_is_neither_verified_nor_promoted_nor_gone_back_to(records: Records, place: str) -> None:
    """Either lies before whoever asks: the run's files answer, the version's are what was registered."""
    version = register(records)
    register(records, "second")
    for number in (1, 2):
        promote(records, "reviews", number, "staging", reason="a start", actor="anna")
    before = find_events(records.store, "reviews")
    folders = {"version": folder_of(records, version), "run": records.folder(records.store.get(version.run_id)).path}
    (damaged,) = folders[place].rglob("labels.json")
    content = damaged.read_text(encoding="utf-8").replace("yes", "no!")
    damaged.unlink()  # the other one may be the same file under another name
    damaged.write_text(content, encoding="utf-8")
    for check in (
        lambda: verify_version(records, version),
        lambda: promote(records, "reviews", 1, "production", reason="a start", actor="anna"),
        lambda: roll_back(records, "reviews", "staging", reason="wrong answers", actor="anna"),
    ):
        with pytest.raises(StorageError, match=r"labels\.json"):
            check()
    assert find_events(records.store, "reviews") == before


def test_what_cannot_be_compared_is_said(records: Records) -> None:
    first = register(records, "first")
    register(records, "second")
    promote(records, "reviews", 1, "production", reason="a start", actor="anna")
    records.folder(records.store.get(first.run_id)).predictions.unlink()
    found = promote(records, "reviews", 2, "production", reason="better", actor="anna")
    assert found.paired["distinguishable"] is None
    assert "has no predictions" in found.paired["message"]


def test_the_card_is_made_from_the_record(records: Records) -> None:
    version = register(records, wrong=(0,))
    card = load_card(records, load_version(records, "reviews"))
    assert card.startswith("# reviews, version 1\n")
    for told in ("rows.csv", version.run_id, "b" * 64, "train: 8 input, 8 used", "91.67 %", "Measured on 12 rows"):
        assert told in card


def test_models_are_found_by_what_they_are(records: Records) -> None:
    version = register(records, "first")
    register(records, "second", "others")
    edit_run(records.store, version.run_id, RunEdit(note="for the pilot", add_tags=("pilot",)))
    wanted = [
        (ModelQuery(), ["others", "reviews"]),
        (ModelQuery(base="START"), ["others", "reviews"]),
        (ModelQuery(base="bert"), []),
        (ModelQuery(problem="regression"), []),
        (ModelQuery(tag="pilot"), ["reviews"]),
        (ModelQuery(text="PILOT yes"), ["reviews"]),
        (ModelQuery(text="second rows"), ["others"]),
        (ModelQuery(script="Latin"), []),  # the rows are not stored, so nothing is known of their script
    ]
    for query, names in wanted:
        assert [model["name"] for model in search_models(records, query)] == names, query
    assert version.facts["labels"] == NAMES


def test_versions_are_named_in_three_ways(records: Records) -> None:
    register(records, "first")
    register(records, "second")
    promote(records, "reviews", 1, "staging", reason="a try", actor="anna")
    assert [load_version(records, name).number for name in ("reviews", "reviews:1", "reviews@staging")] == [2, 1, 1]
    retire_version(records.store, "reviews", 2, actor="anna", reason="worse")
    assert load_version(records, "reviews").number == 1
    with pytest.raises(UsageError, match="names no version"):
        load_version(records, "../reviews")
    with pytest.raises(ConflictError):
        promote(records, "reviews", 2, "staging", reason="again", actor="anna")


def test_files_of_a_registration_that_was_killed_are_taken_away_by_the_next(records: Records) -> None:
    for left in ("v1", ".v1.tmp"):
        folder = records.results_root / "registry" / "reviews" / left
        folder.mkdir(parents=True)
        (folder / "half").write_text("x")
    version = register(records)
    assert version.number == 1
    assert sorted(entry.name for entry in folder_of(records, version).parent.iterdir()) == ["v1"]
    assert not (folder_of(records, version) / "half").exists()
    assert find_version_faults(folder_of(records, version), version) == []
