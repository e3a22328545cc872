"""Answers of language models in work: one thread takes a token of each, or a piece of its prompt, in turn, so that none
waits long for another.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from finetune30.errors import Finetune30Error, QuotaError, ServiceUnavailableError, first_line
from finetune30.service.serving.asked import Ended, TalkingModel
from finetune30.service.serving.batcher import DeadlineError

#: A piece of text, how the answer ended, or why it could not be given.
Event = str | Ended | Finetune30Error
#: Answers in work at a time: each keeps keys and values of its whole conversation in memory.
MOST_ANSWERS = 16

_log = logging.getLogger(__name__)


class AnswerError(Finetune30Error):
    """A model failed in the middle of an answer."""

    code = "answer_failed"


@dataclass(eq=False)
class Talk:
    """An answer in work; whoever does not wait for it any more sets `left`. `ids`: its tokens so far."""

    model: TalkingModel
    prompt: Sequence[int]
    sampling: Mapping[str, Any]
    tell: Callable[[Event], None]
    until: float
    left: bool = False
    ids: list[int] = field(default_factory=list)
    pieces: Iterator[str | Ended | None] | None = field(default=None, repr=False)


class Talks:
    """`begin` may be called from any thread; `tell` of an answer is called by the one that asks the models."""

    def __init__(self, most: int = MOST_ANSWERS) -> None:
        self._most = most
        self._open: deque[Talk] = deque()
        self._changed = threading.Condition()  # whose lock may be taken again by the thread that has it
        self._closing = False
        self._thread = threading.Thread(target=self._work, name="answers", daemon=True)
        self._thread.start()

    @property
    def in_work(self) -> int:
        """Answers in work."""
        return len(self._open)

    @property
    def is_alive(self) -> bool:
        """Whether its thread is there."""
        return self._thread.is_alive()

    def require_room(self, *, always: bool = False) -> None:
        """Raise what `begin` raises where it would take no answer now: before its conversation is read."""
        with self._changed:
            if self._closing:
                raise ServiceUnavailableError("the server is being stopped", "ask another one, or again in a moment")
            if len(self._open) >= self._most and not always:
                raise QuotaError(f"{len(self._open)} answers are in work", "ask again once one of them has ended")

    def begin(
        self,
        model: TalkingModel,
        prompt: Sequence[int],
        sampling: Mapping[str, Any],
        tell: Callable[[Event], None],
        deadline: float,
        *,
        always: bool = False,
    ) -> Talk:
        """Begin an answer that may take `deadline` seconds; `always`: however many are in work.

        Raises QuotaError where too many are in work, ServiceUnavailableError at the end.
        """
        talk = Talk(model, prompt, sampling, tell, time.monotonic() + deadline)
        with self._changed:
            self.require_room(always=always)
            self._open.append(talk)
            self._changed.notify()
        return talk

    def close(self) -> None:
        """Tell what is in work to its end, then end."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join()

    def _work(self) -> None:
        while self._take_turn():
            pass

    def _take_turn(self) -> bool:
        """Take one step of the answer whose turn it is, once there is one; False at the end.

        No model is held while nothing is in work.
        """
        with self._changed:
            while not self._open:
                if self._closing:
                    return False
                self._changed.wait()
            talk = self._open[0]
        ended = talk.left or self._step(talk)
        with self._changed:
            self._open.popleft()
            if not ended:
                self._open.append(talk)
        return True

    def _step(self, talk: Talk) -> bool:
        """Take one token of an answer, or read a piece of its prompt; return whether it ended."""
        try:
            if time.monotonic() > talk.until:
                raise late_answer()
            if talk.pieces is None:
                talk.pieces = talk.model.stream(talk.prompt, talk.sampling, talk.ids)
            said: Event | None = next(talk.pieces)
        except Finetune30Error as error:
            said = error
        except Exception as error:  # noqa: BLE001 - whoever asked is told, whatever it is
            _log.exception("an answer failed")
            said = AnswerError(f"the model failed: {type(error).__name__}: {first_line(error)}", "ask again")
        if said is None:
            return False
        try:
            talk.tell(said)
        except Exception:  # noqa: BLE001 - nobody can be told any more, and the others are answered
            _log.exception("an answer could not be told")
            return True
        return not isinstance(said, str)


def late_answer() -> DeadlineError:
    """Return the error of an answer whose time is over."""
    return DeadlineError("the answer took longer than it may", "ask for fewer tokens: max_tokens")
