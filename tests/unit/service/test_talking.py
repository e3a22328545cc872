"""Answers in work: a fault ends the answer that it belongs to, and whatever is told goes on being told."""

from __future__ import annotations

import queue
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pytest

from finetune30.errors import QuotaError, ServiceUnavailableError
from finetune30.service.serving.asked import Ended
from finetune30.service.serving.batcher import DeadlineError
from finetune30.service.serving.talking import AnswerError, Event, Talks
from support.patience import wait_until


class Done:
    """How every answer ends."""

    reason, ids = "stop", ()


class Model:
    """Says the tokens of its prompt as texts; a 0 among them is a fault."""

    positions, holds_conversations = None, False

    def ask(self, messages: Sequence[Mapping[str, Any]]) -> list[int]:
        raise NotImplementedError

    def ask_text(self, text: str) -> list[int]:
        raise NotImplementedError

    def stream(
        self, prompt: Sequence[int], sampling: Mapping[str, Any], ids: list[int]
    ) -> Iterator[str | Ended | None]:
        for token in prompt:
            ids.append(token)
            yield str(1 // token * token)
        yield Done()


@pytest.fixture
def talks() -> Iterator[Talks]:
    found = Talks(most=2)
    yield found
    found.close()


def test_an_unexpected_fault_is_a_failed_answer_and_the_thread_goes_on(
    talks: Talks, caplog: pytest.LogCaptureFixture
) -> None:
    told: queue.Queue[Event] = queue.Queue()
    talks.begin(Model(), [1, 0], {}, told.put, 60.0)
    assert told.get(timeout=30) == "1"
    failed = told.get(timeout=30)
    assert isinstance(failed, AnswerError)
    assert (failed.http_status, "ZeroDivisionError" in failed.message) == (500, True)
    assert "an answer failed" in caplog.text
    talks.begin(Model(), [1], {}, told.put, 60.0)
    assert told.get(timeout=30) == "1"


def test_whoever_cannot_be_told_ends_nothing_but_its_own_answer(talks: Talks) -> None:
    def fail(_event: Event) -> None:
        raise RuntimeError("nobody is there")

    talks.begin(Model(), [1, 1], {}, fail, 60.0)
    wait_until(lambda: talks.in_work == 0, 30, "nothing is in work")
    told: queue.Queue[Event] = queue.Queue()
    talks.begin(Model(), [1], {}, told.put, 60.0)
    assert told.get(timeout=30) == "1"
    assert talks.is_alive


def test_there_is_no_room_while_others_are_in_work_and_none_at_the_end() -> None:
    talks = Talks(most=0)
    for ask in (talks.require_room, lambda: talks.begin(Model(), [1], {}, lambda event: None, 60.0)):
        with pytest.raises(QuotaError, match="answers are in work"):
            ask()
    told: queue.Queue[Event] = queue.Queue()
    talks.require_room(always=True)
    talks.begin(Model(), [1], {}, told.put, 60.0, always=True)  # the server's check of a version
    assert told.get(timeout=30) == "1"
    talks.close()
    with pytest.raises(ServiceUnavailableError, match="is being stopped"):
        talks.require_room()
    assert not talks.is_alive


def test_no_model_is_held_while_nothing_is_in_work(talks: Talks) -> None:
    model = Model()
    told: queue.Queue[Event] = queue.Queue()
    talks.begin(model, [1], {}, told.put, 60.0)
    held = weakref.ref(model)
    del model
    wait_until(lambda: held() is None, 30, "the model is gone")


class Reads(Model):
    """Reads its prompt a token at a time, doing what a test wants after each, then says one word."""

    def __init__(self, after: Callable[[int], None] = lambda read: None) -> None:
        self.read, self._after = 0, after

    def stream(
        self, prompt: Sequence[int], sampling: Mapping[str, Any], ids: list[int]
    ) -> Iterator[str | Ended | None]:
        for _ in prompt:
            self.read += 1
            self._after(self.read)
            yield None
        yield "word"
        yield Done()


def test_a_prompt_that_is_read_in_pieces_says_nothing_before_its_first_word(talks: Talks) -> None:
    told: queue.Queue[Event] = queue.Queue()
    talks.begin(Reads(), [1] * 5, {}, told.put, 60.0)
    assert told.get(timeout=30) == "word"
    assert isinstance(told.get(timeout=30), Done)


def test_nobody_waits_for_the_rest_of_a_long_prompt(talks: Talks) -> None:
    """Whoever has gone is left after the piece that is being read, and others have their turn between two pieces."""
    told: queue.Queue[Event] = queue.Queue()

    def leave(read: int) -> None:
        if read == 1:
            talks.begin(Model(), [1], {}, told.put, 60.0)
        if read == 3:
            gone.left = True

    reads = Reads(leave)
    with talks._changed:  # its first turn comes once the name is there
        gone = talks.begin(reads, [1] * 1000, {}, told.put, 60.0)
    assert told.get(timeout=30) == "1"
    wait_until(lambda: talks.in_work == 0, 30, "nothing is in work")
    assert reads.read == 3


def test_a_deadline_ends_an_answer_whose_prompt_is_being_read(talks: Talks) -> None:
    told: queue.Queue[Event] = queue.Queue()

    def pass_time(read: int) -> None:
        late.until = 0.0 if read == 2 else late.until

    reads = Reads(pass_time)
    with talks._changed:  # its first turn comes once the name is there
        late = talks.begin(reads, [1] * 1000, {}, told.put, 60.0)
    assert isinstance(told.get(timeout=30), DeadlineError)
    assert reads.read == 2
