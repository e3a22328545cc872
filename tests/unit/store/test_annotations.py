"""What people write on a run: found by it, guarded against each other, and without effect on what the run does."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from finetune30.errors import ConflictError, NotFoundError, UsageError
from finetune30.store import RunFilter, RunStatus
from finetune30.store.annotations import MOST_TAGS, RunEdit, edit_run

LONGEST_TAG = "x" * 32


def names(lab: Any, **wanted: Any) -> set[str]:
    return {run.name for run in lab.store.find(RunFilter(**wanted))}


def test_a_new_run_has_nothing_written_on_it(lab: Any) -> None:
    run = lab.create()
    assert (run.note, run.tags, run.starred, run.archived, run.edits) == ("", (), False, False, 0)


def test_an_edit_changes_what_it_names_and_nothing_else(lab: Any) -> None:
    before = lab.create("first")
    edited, is_changed = edit_run(lab.store, before.id, RunEdit(note="keep\nthis", tags=("b", "a"), starred=True))
    assert is_changed
    assert (edited.note, edited.tags, edited.starred, edited.edits) == ("keep\nthis", ("b", "a"), True, 1)
    changed = {"note", "tags", "starred", "edits"}
    assert {key: value for key, value in vars(edited).items() if key not in changed} == {
        key: value for key, value in vars(before).items() if key not in changed
    }
    assert lab.store.get(before.id) == edited


def test_an_edit_is_told_by_an_event_and_one_that_changes_nothing_by_none(lab: Any) -> None:
    run = lab.create("first")
    edit_run(lab.store, run.id, RunEdit(name="second", archived=True), by="anna")
    again, is_changed = edit_run(lab.store, run.id, RunEdit(name="second", archived=True), by="ben")
    assert (is_changed, again.edits) == (False, 1)
    (event,) = [event for event in lab.store.events(run.id) if event.kind == "edited"]
    assert (event.from_status, event.to_status) == (RunStatus.QUEUED, RunStatus.QUEUED)
    assert event.detail == {
        "changed": {"name": {"from": "first", "to": "second"}, "archived": {"from": False, "to": True}},
        "by": "anna",
    }


def test_a_renamed_run_is_found_by_its_new_name_and_keeps_folder_and_configuration(lab: Any) -> None:
    run = lab.create("ordinary")
    edit_run(lab.store, run.id, RunEdit(name="Straße May"))
    assert names(lab, name="STRASSE") == {"Straße May"}  # searched case-folded
    assert names(lab, name="ordinary") == set()
    found = lab.store.get("Straße May")
    assert (found.id, found.folder, found.config, found.config_digest) == (
        run.id,
        run.folder,
        run.config,
        run.config_digest,
    )
    assert lab.store.get(run.folder).id == run.id
    with pytest.raises(NotFoundError):
        lab.store.get("ordinary")
    lab.create("Tangent")
    assert [run.name for run in lab.store.find(RunFilter(sort_by="name", descending=False))] == [
        "Straße May",
        "Tangent",
    ]


def test_runs_are_kept_by_tags_star_and_archive(lab: Any) -> None:
    for name, edit in {
        "both": RunEdit(tags=("base", "of May")),
        "one": RunEdit(tags=("baseline",), starred=True),
        "hidden": RunEdit(tags=("base",), archived=True),
        "none": RunEdit(),
    }.items():
        edit_run(lab.store, lab.create(name).id, edit)
    assert names(lab, tags=frozenset({"base"})) == {"both", "hidden"}  # whole tags, not parts of them
    assert names(lab, tags=frozenset({"base", "of May"})) == {"both"}
    assert names(lab, starred=True) == {"one"}
    assert names(lab, starred=False) == {"both", "hidden", "none"}
    assert names(lab, archived=False) == {"both", "one", "none"}
    assert names(lab, archived=True, tags=frozenset({"base"})) == {"hidden"}
    assert lab.store.count(RunFilter(archived=False)) == 3
    stats = lab.store.stats()
    assert (stats.archived, stats.tags) == (1, {"base": 2, "baseline": 1, "of May": 1})


def test_tags_come_and_go_and_are_no_more_than_the_index_bears(lab: Any) -> None:
    run = lab.create()
    edit_run(lab.store, run.id, RunEdit(add_tags=("a", "b", "a")))
    edited, _ = edit_run(lab.store, run.id, RunEdit(add_tags=("c",), remove_tags=("a", "absent")))
    assert edited.tags == ("b", "c")
    many = tuple(f"{number}{LONGEST_TAG[1:]}" for number in range(MOST_TAGS))
    assert edit_run(lab.store, run.id, RunEdit(tags=many))[0].tags == many
    with pytest.raises(UsageError, match="would have 11 tags"):
        edit_run(lab.store, run.id, RunEdit(add_tags=("more",)))
    assert lab.store.get(run.id).tags == many


def test_an_edit_that_saw_an_older_state_is_refused(lab: Any) -> None:
    run = lab.create()
    edit_run(lab.store, run.id, RunEdit(note="first"), seen=0)
    with pytest.raises(ConflictError, match="edited meanwhile \\(1 edits, you saw 0\\)"):
        edit_run(lab.store, run.id, RunEdit(note="second"), seen=0)
    assert lab.store.get(run.id).note == "first"


def test_of_many_at_the_same_time_one_is_first_and_no_tag_is_lost(lab: Any) -> None:
    run = lab.create()

    def rename(number: int) -> bool:
        try:
            edit_run(lab.store, run.id, RunEdit(name=f"name {number}"), seen=0)
        except ConflictError:
            return False
        return True

    with ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(rename, range(8))) == 1
        list(threads.map(lambda n: edit_run(lab.store, run.id, RunEdit(add_tags=(f"t{n}",))), range(8)))
    found = lab.store.get(run.id)
    assert (sorted(found.tags), found.edits) == ([f"t{n}" for n in range(8)], 9)


def test_a_running_attempt_goes_on_under_another_name(lab: Any) -> None:
    run = lab.create("before")
    claim = lab.store.claim(run.id, lease_seconds=60)
    edit_run(lab.store, run.id, RunEdit(name="after", archived=True))
    lab.store.succeed(claim, {"eval_accuracy": 0.5}, "0" * 64)
    found = lab.store.get(run.id)
    assert (found.status, found.name, found.archived, found.score) == (RunStatus.SUCCEEDED, "after", True, 0.5)


def test_the_best_run_of_a_version_is_none_that_was_archived(lab: Any) -> None:
    for name, accuracy in (("good", 0.9), ("better", 0.95)):
        claim = lab.store.claim(lab.create(name).id, lease_seconds=60)
        lab.store.describe(claim, dataset_digest="d" * 64)
        lab.store.succeed(claim, {"eval_accuracy": accuracy}, "0" * 64)
    assert [best.run_name for best in lab.store.stats().best] == ["better"]
    edit_run(lab.store, "better", RunEdit(archived=True))
    assert [best.run_name for best in lab.store.stats().best] == ["good"]
    edit_run(lab.store, "good", RunEdit(archived=True))
    assert lab.store.stats().best == ()
