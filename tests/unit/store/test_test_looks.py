"""Looks at the test rows of a run: counted before a row is read, one at a time, whoever asks."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

from sqlalchemy import update

from finetune30.store.database import writing
from finetune30.store.process_identity import identity_of
from finetune30.store.tables import test_looks as looks_table
from finetune30.store.test_looks import Look, end_look, hold_look, load_looks, open_look, record_verdict
from support.run_store_lab import Lab


def looks_of(lab: Lab, run_id: str) -> list[Look]:
    return load_looks(lab.store, [run_id])[run_id]


def test_a_look_is_held_while_it_is_renewed_and_no_other_begins_beside_it(lab: Lab) -> None:
    store, run = lab.store, lab.create().id
    first = open_look(store, run, "anna", lease_seconds=60, count=1)
    assert first is not None
    assert (first.count, first.opened_by, first.goes_on) == (1, "anna", True)
    assert open_look(store, run, lease_seconds=60) is None
    lab.clock.advance(59)
    hold_look(store, first, 60)
    lab.clock.advance(59)
    assert open_look(store, run, lease_seconds=60, count=2) is None, "it was renewed"
    beside = open_look(store, run, lease_seconds=60, beside_others=True)
    assert beside is not None, "one of a search's looks"
    end_look(store, beside, result={"rows": 1})
    lab.clock.advance(2)
    assert [look.goes_on for look in looks_of(lab, run)] == [False, False], "the first one died, the second one ended"
    assert open_look(store, run, lease_seconds=60, count=2) is None, "somebody else had that one"
    third = open_look(store, run, lease_seconds=60, count=3)
    assert third is not None
    end_look(store, third, error={"message": "why"})
    hold_look(store, third, 60)
    assert [look.goes_on for look in looks_of(lab, run)] == [False] * 3, "what ended does not go on again"
    assert [(look.count, look.result, look.error) for look in looks_of(lab, run)] == [
        (1, None, None), (2, {"rows": 1}, None), (3, None, {"message": "why"}),
    ]  # fmt: skip
    other = lab.create("another")
    assert open_look(store, other.id, lease_seconds=60) is not None, "each run has looks of its own"


def test_a_verdict_stands_beside_both_looks_and_is_said_once(lab: Lab) -> None:
    store, runs = lab.store, [lab.create(name).id for name in ("one", "other")]
    looks = []
    for run in (*runs, *runs):
        look = open_look(store, run, lease_seconds=60)
        assert look is not None
        end_look(store, look, result={"rows": 1})
        looks.append(look)
    record_verdict(store, looks[2:], {"better": runs[0]})
    record_verdict(store, looks[2:], {"better": runs[1]})
    for run in runs:
        assert [look.verdict for look in looks_of(lab, run)] == [None, {"better": runs[0]}]
        assert [look.as_dict()["verdict"] for look in looks_of(lab, run)] == [None, {"better": runs[0]}]


def test_a_look_whose_process_is_gone_does_not_go_on(lab: Lab) -> None:
    store, run = lab.store, lab.create().id
    look = open_look(store, run, lease_seconds=3600)
    assert look is not None
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        with writing(store.engine) as connection:
            connection.execute(update(looks_table).values(held_by=identity_of(child.pid)))
        assert looks_of(lab, run)[0].goes_on
    assert not looks_of(lab, run)[0].goes_on
    assert open_look(store, run, lease_seconds=60) is not None
    with writing(store.engine) as connection:  # as a release that held no looks leaves one
        connection.execute(update(looks_table).values(held_by=None, held_until=None))
    assert [look.goes_on for look in looks_of(lab, run)] == [False, False]


def test_of_all_who_ask_for_the_same_look_one_has_it(lab: Lab) -> None:
    run = lab.create().id
    for count in (1, 2, 3):
        with ThreadPoolExecutor(8) as pool:
            asked = [pool.submit(open_look, lab.store, run, lease_seconds=60, count=count) for _ in range(8)]
        (look,) = [one.result() for one in asked if one.result() is not None]
        assert look is not None
        assert look.count == count
        end_look(lab.store, look, result={})
    assert [look.count for look in looks_of(lab, run)] == [1, 2, 3]
