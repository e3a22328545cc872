"""Processes that give signs of life: slow ones are waited for, lost ones named, and errors told on."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import torch

from finetune30.errors import CheckpointError, Finetune30Error, PeerLostError, ServiceUnavailableError
from finetune30.training.peers import Identity, Peers, call_and_look, connect
from support.patience import patient, wait_until

TIMEOUT_SECONDS = 0.8
DEAD: set[str] = set()
HOSTS = ("a:boot:1:1", "a:boot:2:2", "b:boot:3:3")


class Silent(Peers):
    """A process that can fall silent, as one does whose host is gone."""

    silent = is_held = False

    def _exchange(self) -> None:
        while self.silent:
            self.is_held = True
            time.sleep(0.05)
        self.is_held = False
        super()._exchange()


@contextmanager
def met(timeout_seconds: float = TIMEOUT_SECONDS) -> Iterator[list[Silent]]:
    """Give three processes on two hosts that have met."""
    DEAD.clear()
    store = torch.distributed.HashStore()  # type: ignore[attr-defined]

    def build(rank: int) -> Silent:
        identity = Identity(HOSTS[rank], lambda owner: owner in DEAD or None, lambda owner: f"host {owner[0]}")
        return Silent(lambda: store, rank, 3, identity, timeout_seconds=timeout_seconds)

    peers = [build(rank) for rank in range(3)]
    threads = [threading.Thread(target=one.meet) for one in peers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(patient(10))
    try:
        yield peers
    finally:
        for one in peers:
            one.silent = False
            one.close()


def fault_of(act: Callable[[], None], seconds: float = 10) -> Finetune30Error:
    """Return what `act` raises within the time."""

    def found() -> Finetune30Error | None:
        try:
            act()
        except Finetune30Error as error:
            return error
        return None

    error = wait_until(found, seconds, "an error")
    assert isinstance(error, Finetune30Error)
    return error


def test_they_know_how_many_are_on_each_host() -> None:
    with met() as peers:
        assert [one.per_host for one in peers] == [[2, 1]] * 3
        assert [one.local_rank for one in peers] == [0, 1, 0]


def test_one_that_takes_three_times_the_time_out_is_waited_for() -> None:
    with met(timeout_seconds=2) as peers:  # a loaded machine may stop all for a moment
        peers[0].enter()
        until = time.monotonic() + 3 * 2
        while time.monotonic() < until:  # the others have not come to this sum, and give signs
            peers[0].require_all(waits=True)
            time.sleep(0.1)


def test_one_that_gives_no_sign_for_the_time_out_is_lost_with_its_host() -> None:
    with met() as peers:
        peers[2].silent = True
        error = fault_of(peers[0].require_all)
    assert isinstance(error, PeerLostError)
    assert error.message == "process 2 (host b) of 3 gave no sign of life for 1 s"
    assert error.details == {"lost": [{"rank": 2, "host": "b"}]}
    assert error.retryable


def test_one_whose_process_is_gone_is_lost_at_once() -> None:
    with met(timeout_seconds=100) as peers:
        DEAD.add(HOSTS[1])
        error = fault_of(peers[0].require_all)
    assert (type(error), error.message) == (PeerLostError, "process 1 (host a) of 3 is gone")


def test_a_sum_that_all_have_entered_and_that_does_not_end_is_a_broken_network() -> None:
    with met() as peers:
        for one in peers:
            one.enter()
        error = fault_of(lambda: peers[0].require_all(waits=True))
    assert isinstance(error, PeerLostError)
    assert "lives, but nothing of it arrived" in error.message


def test_the_error_that_ended_one_is_that_of_all() -> None:
    with met() as peers:
        told = threading.Thread(target=lambda: peers[1].end(CheckpointError("it broke", "mend it")))
        told.start()
        error = fault_of(peers[0].require_all)
        assert isinstance(error, CheckpointError)
        assert (error.message, error.remedy) == ("process 1 (host a): it broke", "mend it")
        peers[2].close()
        DEAD.add(HOSTS[2])
        peers[0].end(error)
        told.join(patient(10))
        assert peers[1].first_has_ended()


def test_a_broken_connection_is_that_of_the_one_that_falls_silent() -> None:
    with met() as peers:
        peers[1].silent = True
        time.sleep(0.2)
        error = peers[0].explain(RuntimeError("Connection closed by peer\nGLHF!"))
    assert isinstance(error, PeerLostError)
    assert [lost["rank"] for lost in error.details["lost"]] == [1]


def test_the_others_hear_what_the_first_one_tells_or_why_it_refuses() -> None:
    with met() as peers:
        peers[0].tell({"run": "abc"})
        assert peers[1].hear(lambda: None) == {"run": "abc"}
    with met() as peers:
        told = threading.Thread(target=lambda: peers[0].end(CheckpointError("not with two")))
        told.start()
        with pytest.raises(CheckpointError, match=r"^not with two$"):
            peers[2].hear(lambda: None)
        DEAD.update(HOSTS[1:])
        told.join(patient(10))


def test_who_does_not_come_is_named_and_so_is_a_place_where_nobody_is() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with pytest.raises(ServiceUnavailableError, match=rf"did not meet at 127\.0\.0\.1:{port}"):
        connect("127.0.0.1", port, opens=False, prefix="test", seconds=1)()
    open_store = connect("127.0.0.1", port, opens=True, prefix="test", seconds=1)
    alone = Peers(open_store, 0, 2, Identity(HOSTS[0], lambda owner: None, str), timeout_seconds=1)
    with pytest.raises(ServiceUnavailableError, match="1 of 2 processes did not come: 1"):
        alone.meet()


def test_what_blocks_is_left_when_something_is_amiss_and_the_process_then_waits_for_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    left: list[BaseException | None] = []
    monkeypatch.setattr("finetune30.training.peers.leave_at_once_at_exit", left.append)

    def look() -> None:
        raise PeerLostError("gone")

    with pytest.raises(PeerLostError) as gone:
        call_and_look(threading.Event().wait, look)
    assert left == [gone.value]
    with pytest.raises(ValueError, match="7"):
        call_and_look(lambda: int("x7"), look)


def test_whoever_has_closed_stands_in_no_store_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread that is inside of the store when the interpreter ends would abort the process."""
    left: list[BaseException | None] = []
    monkeypatch.setattr("finetune30.training.peers.leave_at_once_at_exit", left.append)
    with met() as peers:
        peers[1].silent = True
        wait_until(lambda: peers[1].is_held, 10, "its sign does not get through")
        error = PeerLostError("no answer")
        peers[1].close(error)
        peers[0].close()
        assert left == [error]
        assert [thread.name for thread in threading.enumerate()].count("peers") == 2


@pytest.mark.parametrize(
    ("error", "code"),
    [("None", 0), ("KeyboardInterrupt()", 130), ("PeerLostError('gone')", 1), ("ConfigError('no')", 2)],
)
def test_a_process_that_leaves_at_once_has_printed_all_and_has_its_exit_code(error: str, code: int) -> None:
    script = f"""
import threading
from finetune30.errors import ConfigError, PeerLostError
from finetune30.training.leaving import leave_at_once_at_exit
leave_at_once_at_exit({error})
threading.Thread(target=threading.Event().wait, daemon=True).start()
print("all of it", end="")
"""
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (ended.stdout, ended.returncode) == ("all of it", code), ended.stderr
