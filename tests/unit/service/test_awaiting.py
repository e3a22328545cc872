"""Waiting for servers: each tells what it answers with, and a promotion is everywhere once all of them follow it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update

from finetune30.errors import ServiceUnavailableError
from finetune30.service.registry.promotion import promote, roll_back
from finetune30.service.registry.registering import parse_version_name
from finetune30.service.runs.open_records import Records
from finetune30.service.serving.announcing import RENEW_SECONDS, Announcer
from finetune30.service.serving.awaiting import describe_serving, wait_for_servers
from finetune30.service.serving.slots import Loaded, Refused, Slots
from finetune30.store.database import reading, writing
from finetune30.store.model_names import ModelReference
from finetune30.store.model_records import Alias
from finetune30.store.model_registry import find_model, find_version
from finetune30.store.process_identity import identity_of, own_identity
from finetune30.store.server_tables import servers
from finetune30.store.servers import SILENT_SECONDS, find_servers, remove_server, tell_server
from support.registered import finish_model_run, register_ready
from support.run_store_lab import Lab

NAME = "reviews@production"


@pytest.fixture
def records(tmp_path: Path) -> Iterator[Records]:
    """Two versions; the first one is in production."""
    lab = Lab(f"sqlite:///{tmp_path}/results/experiments.db", tmp_path / "results")
    found = Records(lab.store, lab.results)
    for run in ("one", "three"):
        register_ready(lab.store, lab.results, finish_model_run(lab.store, lab.results, run), "reviews")
    move(found, 1)
    yield found
    lab.store.close()


def move(records: Records, number: int) -> Alias:
    alias = promote(records, "reviews", number, "production", reason="a try", actor="anna").alias
    assert alias is not None
    return alias


class Told:
    """A server whose slot is set by hand, and whose row is written when a test says so."""

    def __init__(self, records: Records, address: str = "http://localhost:8100") -> None:
        self.records, self.slots = records, Slots.named([NAME, "scores"], parse_version_name)
        self.announcer = Announcer(records.store, self.slots, address)
        self.announcer.tell()

    def answer_with(self, number: int, generation: int) -> None:
        version = find_version(self.records.store, ModelReference("reviews", None, number))
        slot = self.slots.slots[0]
        self.slots.offer(slot, Loaded(version, generation, "packed"))
        self.slots.accept(slot)
        self.announcer.tell()

    def refuse(self, number: int, generation: int, *, again: float | None = None) -> None:
        self.slots.refuse(self.slots.slots[0], Refused(number, generation, "other answers", again))
        self.announcer.tell()


class Pauses:
    """Does the next thing of a list whenever somebody waits."""

    def __init__(self, *steps: Any) -> None:
        self.steps, self.left = list(steps), len(steps)

    def __call__(self, _seconds: float) -> None:
        self.left -= 1
        self.steps.pop(0)()


def test_it_is_waited_until_the_last_server_follows(records: Records) -> None:
    first, second = Told(records, "http://localhost:8100"), Told(records, "http://localhost:8101")
    for one in (first, second):
        one.answer_with(1, 1)
    alias = move(records, 2)
    pauses = Pauses(
        lambda: first.answer_with(2, 2),
        lambda: Told(records, "http://localhost:8102").answer_with(2, 2),
        lambda: second.answer_with(2, 2),
    )
    found = wait_for_servers(records.store, alias, 60, pauses)
    assert pauses.left == 0
    assert [one.address[-4:] for one in found.servers] == ["8100", "8101", "8102"]
    assert {(one.host, one.pid) for one in found.servers} == {(own_identity().split(":")[0], os.getpid())}


def test_a_later_move_is_the_move_too_and_without_servers_nothing_is_waited_for(records: Records) -> None:
    alias = move(records, 2)
    assert wait_for_servers(records.store, alias, 60, Pauses()).servers == []
    move(records, 1)
    server = Told(records)
    server.answer_with(1, 3)
    assert len(wait_for_servers(records.store, alias, 60, Pauses()).servers) == 1


def test_servers_that_do_not_follow_are_named_and_the_move_stands(records: Records) -> None:
    """Who follows the remedy sees them, and goes back."""
    server = Told(records)
    server.answer_with(1, 1)
    alias = move(records, 2)
    with pytest.raises(ServiceUnavailableError) as late:
        wait_for_servers(records.store, alias, 0.0, Pauses())
    assert "1 of 1 servers do not answer with it: http://localhost:8100 (process" in late.value.message
    assert "reviews:1, READY" in late.value.message
    assert "ft30 models servers reviews; or go back: ft30 models rollback reviews production" in late.value.remedy
    assert find_model(records.store, "reviews").aliases[0].number == 2
    (seen,) = find_servers(records.store, "reviews")
    assert seen.describe_name(NAME) == "reviews:1, READY"
    move_back = roll_back(records, "reviews", "production", reason="it is not everywhere", actor="anna")
    server.answer_with(1, 3)
    assert len(wait_for_servers(records.store, move_back.alias, 60, Pauses()).servers) == 1


def test_a_version_that_is_refused_for_good_is_not_waited_for(records: Records) -> None:
    server = Told(records)
    server.answer_with(1, 1)
    alias = move(records, 2)
    server.refuse(2, 2, again=1e9)  # for want of memory: it is tried again
    pauses = Pauses(lambda: server.refuse(2, 2))
    with pytest.raises(ServiceUnavailableError, match="SWAP_REFUSED, refused version 2: other answers"):
        wait_for_servers(records.store, alias, 60, pauses)
    assert pauses.left == 0
    move(records, 1)
    again = move(records, 2)  # both before the server looks: what it refused is not refused for good any more
    pauses = Pauses(lambda: server.answer_with(2, 4))
    assert len(wait_for_servers(records.store, again, 60, pauses).servers) == 1
    assert pauses.left == 0


def test_the_dead_are_gone_at_once_the_silent_are_told_apart(records: Records) -> None:
    store, names = records.store, [{"name": NAME, "state": "READY", "model": "reviews", "version": 1, "generation": 1}]
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        tell_server(store, "a", identity_of(child.pid), "http://localhost:8100", names)
        assert [one.pid for one in find_servers(store)] == [child.pid]
    assert find_servers(store) == []
    tell_server(store, "b", "elsewhere:boot:7:7", "http://localhost:8100", names)
    with writing(store.engine) as connection:
        silent = store.now(connection) - timedelta(seconds=SILENT_SECONDS + 1)
        connection.execute(update(servers).where(servers.c.id == "b").values(seen_at=silent))
    found = wait_for_servers(store, move(records, 2), 60, Pauses())
    assert ([one.host for one in found.servers], [one.host for one in found.silent]) == ([], ["elsewhere"])
    with writing(store.engine) as connection:
        connection.execute(update(servers).values(seen_at=silent - timedelta(days=1)))
    Told(records)  # a server that begins forgets the oldest
    with reading(store.engine) as connection:
        assert connection.execute(select(servers.c.owner)).scalars().all() == [own_identity()]


def test_a_row_is_renewed_and_written_when_something_changed(records: Records, monkeypatch: pytest.MonkeyPatch) -> None:
    server, told = Told(records), []
    monkeypatch.setattr(
        "finetune30.service.serving.announcing.tell_server", lambda *given: told.append(given[-1][0]["state"])
    )
    server.announcer.tell()
    assert told == []
    server.answer_with(1, 1)
    assert told == ["READY"]
    monkeypatch.setattr(server.announcer, "_told_at", server.announcer._told_at - RENEW_SECONDS)
    server.announcer.tell()
    assert told == ["READY", "READY"]


def test_the_card_ends_with_who_serves_the_version(records: Records) -> None:
    version = find_version(records.store, ModelReference("reviews", None, 1))
    assert describe_serving(records.store, version) == ""
    server = Told(records)
    server.answer_with(1, 1)
    assert "* `reviews@production` at http://localhost:8100 on " in describe_serving(records.store, version)
    assert [one.address for one in find_servers(records.store, "scores")] == ["http://localhost:8100"]
    assert find_servers(records.store, "score") == []
    remove_server(records.store, server.announcer._id)
    assert describe_serving(records.store, version) == ""
