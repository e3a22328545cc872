"""Promotions while callers are answered: every answer is that of the version that its move of the alias led to.

A server that is killed anywhere in a swap leaves nothing that the next one, or whoever waits for it, stumbles over.
"""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from finetune30.service.registry.promotion import promote
from finetune30.service.runs.open_records import Records, open_records
from finetune30.service.serving.awaiting import wait_for_servers
from finetune30.settings import Settings
from finetune30.store.model_registry import find_model
from finetune30.store.servers import find_servers
from support.kinds import KINDS, KindsLab
from support.patience import wait_until
from support.promotions import Callers, Record, behind, find_breaches, load_record, load_shares
from support.serving_lab import ServingLab, serve_lab

pytestmark = pytest.mark.integration

PROMOTIONS, CALLERS = 30, 4


@pytest.fixture(scope="module")
def folder(kinds_lab: KindsLab) -> Path:
    """Two versions of a classifier that answer differently, the first one under the alias."""
    kinds_lab.train(KINDS["single-label"], "hardly-learnt", num_train_epochs=2)
    for run in ("single-label", "hardly-learnt"):
        kinds_lab.ft30("models", "register", run, "moved")
    kinds_lab.ft30("models", "promote", "moved", "1", "--to", "production", "--reason", "a start")
    return kinds_lab.folder


def test_every_answer_is_of_the_version_that_its_move_led_to(folder: Path) -> None:
    """The witness that finds nothing finds it all once answers name the wrong move, or another version's numbers."""
    with serve_lab(folder, "moved@production") as lab:
        known = {number: load_shares(lab.records, "moved", number) for number in (1, 2)}
        lab.watcher.look()
        callers = Callers(lab.address, "moved", list(known[1]))
        with callers.asking(CALLERS), _looking(lab):
            for number in range(PROMOTIONS):
                lab.move("moved", 2 - number % 2)
        lab.watcher.look()
        after = Callers(lab.address, "moved", list(known[1]))
        with after.asking(1):
            pass
        record = load_record(lab.records, "moved", "production", known)
    assert sorted(record.moves) == list(range(1, PROMOTIONS + 2))
    assert find_breaches([*callers.answers, *after.answers], record) == []
    assert {one.generation for one in after.answers} == {PROMOTIONS + 1}
    assert {one.version for one in callers.answers} == {1, 2}
    assert len({one.generation for one in callers.answers}) > 2
    assert behind(after.answers, record) == [0.0] * len(after.answers)
    _require_a_witness_that_sees(callers, record)


def test_callers_whom_nobody_answers_say_so() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    callers = Callers(f"http://127.0.0.1:{port}", "moved", ["a text"])
    with callers.asking(2):
        pass
    assert find_breaches(callers.answers, Record({}, {}, {})) == ["nobody answered"] * 2
    assert behind(callers.answers, Record({}, {}, {})) == []


@pytest.mark.parametrize("point", ["after_load", "before_accept", "after_accept"])
def test_a_server_that_is_killed_in_a_swap_is_gone_and_the_next_one_follows(
    kinds_lab: KindsLab, folder: Path, point: str
) -> None:
    """Killed at its second swap; nobody waits for it, and the next one answers with what the alias leads to."""
    settings = Settings(results_folder=folder / "results", data_folder=folder / "data_store")
    with open_records(settings) as records, socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        command, address = ("serve", "moved@production", "--port", str(port)), f"http://127.0.0.1:{port}"
        server = kinds_lab.server
        (before,) = find_model(records.store, "moved").aliases
        assert "Start one with: ft30 serve NAME@production" in kinds_lab.ft30("models", "servers").stdout
        server.start(*command, cwd=folder, FT30_FAILPOINT=f"serving.swap.{point}:2")
        wait_until(lambda: _answers_with(address) == before.number, 60, "the server is ready")
        wait_until(lambda: _told(records) == [before.generation], 30, "it is on record")
        move = promote(records, "moved", 3 - before.number, "production", reason="a try", actor="anna").alias
        assert server.wait().returncode == -signal.SIGKILL
        assert move is not None
        assert find_model(records.store, "moved").aliases == (move,)
        assert wait_for_servers(records.store, move, 60).servers == []
        pid = server.start(*command, cwd=folder)
        wait_until(lambda: _answers_with(address) == move.number, 60, "the next server answers with the new version")
        assert [one.pid for one in wait_for_servers(records.store, move, 60).servers] == [pid]
        os.kill(pid, signal.SIGTERM)
        assert server.wait().returncode == 0
        assert find_servers(records.store) == []


def _answers_with(address: str) -> int | None:
    try:
        (told,) = httpx.get(f"{address}/readyz").json()["models"]
    except httpx.TransportError:
        return None
    found: int | None = told.get("version")
    return found


def _told(records: Records) -> list[int | None]:
    return [one.names[0].get("generation") for one in find_servers(records.store, "moved")]


def _require_a_witness_that_sees(callers: Callers, record: Record) -> None:
    first, last = (choose(callers.answers, key=lambda one: one.generation) for choose in (min, max))
    later = replace(first, sent=last.received + 1, received=last.received + 2)
    (stepped_back,) = find_breaches([last, later], record)
    assert f"generation {first.generation} answers after generation {last.generation}" in stepped_back
    assert behind([later], record)[0] > 0
    other = replace(last, version=3 - last.version)
    said = " ".join(find_breaches([other], record))
    assert f"which led to {last.version}" in said
    assert "is said to have the weights" in said
    assert "which are not its numbers" in said
    assert find_breaches([replace(last, status=503)], record) == ["answered 503"]


@contextmanager
def _looking(lab: ServingLab) -> Iterator[None]:
    """Let the server look again and again, as its own thread would each second."""
    stop = threading.Event()

    def look() -> None:
        while not stop.is_set():
            lab.watcher.look()

    with ThreadPoolExecutor(1) as pool:
        looks = pool.submit(look)
        try:
            yield
        finally:
            stop.set()
        looks.result()
