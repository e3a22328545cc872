"""Cursors of mirrors: held by one process at a time, moved by whoever holds them; what a mirror is behind with."""

from __future__ import annotations

import subprocess
import sys

import pytest

from finetune30.errors import ConflictError
from finetune30.store import RunStatus
from finetune30.store.annotations import RunEdit, edit_run
from finetune30.store.mirrors import (
    Cursor,
    Failure,
    begin_following,
    claim_cursor,
    describe_cursors,
    load_behind,
    load_finished_ids,
    load_mirrors,
    move_cursor,
    note_look,
    release_cursor,
    state_of,
)
from finetune30.store.process_identity import identity_of
from support.run_store_lab import Lab

HELD_SECONDS = 100.0


def claim(lab: Lab, run_id: str, owner: str, target: str = "here") -> Cursor | None:
    return claim_cursor(lab.store, run_id, "tensorboard", target, owner=owner, hold_seconds=HELD_SECONDS)


def behind(lab: Lab) -> list[str]:
    return [lab.store.get(run_id).name for run_id in load_behind(lab.store, "tensorboard")]


def test_a_cursor_is_held_by_one_process_until_it_gives_it_back_or_its_time_is_over(lab: Lab) -> None:
    run = lab.create()
    first = claim(lab, run.id, "one")
    assert first is not None
    assert claim(lab, run.id, "two") is None
    moved = move_cursor(lab.store, first, hold_seconds=HELD_SECONDS, records=3, remote={"run_id": "r"})
    release_cursor(lab.store, moved)
    second = claim(lab, run.id, "two")
    assert second is not None
    assert (second.records, second.remote) == (3, {"run_id": "r"})
    lab.clock.advance(HELD_SECONDS + 1)
    third = claim(lab, run.id, "three")
    assert third is not None
    with pytest.raises(ConflictError, match="another process carries run"):
        move_cursor(lab.store, second, hold_seconds=HELD_SECONDS, records=9)
    release_cursor(lab.store, second)
    assert claim(lab, run.id, "four") is None, "who lost a cursor gives nothing back"


def test_the_cursor_of_a_process_that_is_gone_is_free_at_once(lab: Lab) -> None:
    run = lab.create()
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        owner = identity_of(process.pid)
        assert claim(lab, run.id, owner) is not None
        assert claim(lab, run.id, "other") is None
        process.kill()
        process.wait()
    assert claim(lab, run.id, "other") is not None


def test_another_target_begins_from_the_start_in_the_same_generation(lab: Lab) -> None:
    run = lab.create()
    held = claim(lab, run.id, "one", "here")
    assert held is not None
    release_cursor(lab.store, move_cursor(lab.store, held, hold_seconds=1, records=3, generation=2, told="x"))
    there = claim(lab, run.id, "one", "there")
    assert there is not None
    assert (there.records, there.told, there.remote, there.generation) == (0, "", None, 2)


def test_runs_that_were_queued_before_a_mirror_was_followed_are_left_to_whoever_asks(lab: Lab) -> None:
    old = lab.create("old")
    lab.store.request_cancel(old.id)
    lab.clock.advance(1)
    begin_following(lab.store, "tensorboard")
    lab.clock.advance(1)
    begin_following(lab.store, "tensorboard")
    new = lab.create("new")
    assert behind(lab) == [], "a run that waits is nothing to tell of"
    lab.store.request_cancel(new.id)
    assert behind(lab) == ["new"]
    held = claim(lab, old.id, "one")
    assert held is not None
    release_cursor(lab.store, held)
    assert behind(lab) == ["old", "new"], "one that was begun is finished"
    assert load_finished_ids(lab.store, "tensorboard") == [old.id, new.id]


def test_a_mirror_is_behind_until_it_was_told_the_state_and_again_after_every_edit_and_retry(lab: Lab) -> None:
    begin_following(lab.store, "tensorboard")
    run = lab.create("trial")
    lab.store.request_cancel(run.id)

    def tell() -> None:
        held = claim(lab, run.id, "one")
        assert held is not None
        told = state_of(lab.store.get(run.id))
        release_cursor(lab.store, move_cursor(lab.store, held, hold_seconds=1, told=told))

    tell()
    assert behind(lab) == []
    assert describe_cursors(lab.store, lab.store.get(run.id))[0]["complete"] is True
    edit_run(lab.store, run.id, RunEdit(note="a word"))
    assert behind(lab) == ["trial"]
    tell()
    lab.store.retry(run.id)
    claimed = lab.store.claim(run.id, owner="worker", lease_seconds=60.0)
    assert claimed is not None
    assert lab.store.get(run.id).status is RunStatus.RUNNING
    tell()
    assert behind(lab) == ["trial"], "a run that trains may have gone on"


def test_a_paused_run_is_told_as_paused_once_and_has_not_ended(lab: Lab) -> None:
    begin_following(lab.store, "tensorboard")
    run = lab.create("trial", pause_at=0.33)
    attempt = lab.store.claim(run.id, lease_seconds=60)
    assert attempt is not None
    lab.store.pause(attempt, {"step": 2, "total_steps": 6, "metrics": {}})
    assert (behind(lab), load_finished_ids(lab.store, "tensorboard")) == (["trial"], [])
    cursor = claim(lab, run.id, "one")
    assert cursor is not None
    cursor = move_cursor(lab.store, cursor, hold_seconds=HELD_SECONDS, told=state_of(lab.store.get(run.id)))
    release_cursor(lab.store, cursor)
    assert behind(lab) == []
    lab.store.stop_paused(lab.store.get(run.id), "clearly worse")
    assert (behind(lab), load_finished_ids(lab.store, "tensorboard")) == (["trial"], [run.id])


def test_a_refused_run_waits_and_is_counted(lab: Lab) -> None:
    begin_following(lab.store, "tensorboard")
    run = lab.create("trial")
    lab.store.request_cancel(run.id)
    held = claim(lab, run.id, "one")
    assert held is not None
    release_cursor(lab.store, held, Failure("it is not liked", 30.0))
    note_look(lab.store, "tensorboard", "nobody answers")
    assert behind(lab) == []
    (state,) = load_mirrors(lab.store)
    assert (state.behind, state.refused, state.error, state.looked_at) == (1, 1, "nobody answers", lab.clock())
    lab.clock.advance(31)
    assert behind(lab) == ["trial"]
    again = claim(lab, run.id, "one")
    assert again is not None
    assert (again.failures, again.error) == (1, "it is not liked")
    release_cursor(lab.store, move_cursor(lab.store, again, hold_seconds=1, records=1))
    assert load_mirrors(lab.store)[0].refused == 0
