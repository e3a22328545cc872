"""Processes that hold a finished model and answer questions, so that whoever asks stays free of torch.

A process is started by the first question to its run, answers one JSON line for one JSON line, and is let go after a
while without questions, or when more runs are asked than may be held. An answer to a conversation is asked for token by
token, so that several come at a time, and one that nobody waits for any more takes no further turn.
"""

from __future__ import annotations

import contextlib
import json
import selectors
import subprocess
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from finetune30.errors import ServiceUnavailableError
from finetune30.restored_errors import restore_error
from finetune30.service.runs.details import require_model
from finetune30.store import Run

MOST_MODELS = 2
IDLE_SECONDS = 120.0
ANSWER_SECONDS = 170.0
#: An answer for which nobody asks so long does not keep the process of its model any longer.
FORGOTTEN_SECONDS = 60.0
_LOOK_SECONDS = 5.0
_TURN_SECONDS = 0.1

Answer = TypeVar("Answer")


class ModelProcesses:
    """At most `most` processes, each let go after `idle_seconds`; safe to use from several threads."""

    def __init__(self, most: int = MOST_MODELS, idle_seconds: float = IDLE_SECONDS) -> None:
        self._most, self._idle_seconds = most, idle_seconds
        self._held: OrderedDict[str, ModelProcess] = OrderedDict()
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._watcher: threading.Thread | None = None

    def ask(self, run: Run, texts: Sequence[str], text_pairs: Sequence[str] | None) -> list[dict[str, Any]]:
        """Return one answer a text. Raises ConflictError (no model), ServiceUnavailableError, what it raised there."""
        question = {"texts": list(texts), "text_pairs": None if text_pairs is None else list(text_pairs)}
        answers: list[dict[str, Any]] = read_answer(self._use(run, lambda held: held.ask(question)))["answers"]
        return answers

    def begin_answer(self, run: Run, question: Mapping[str, Any]) -> AnswerInWork:
        """Begin to answer a conversation (see `OpenAnswers.begin`). Raises what `ask` raises."""
        return self._use(run, lambda held: AnswerInWork(held, question))

    def _use(self, run: Run, use: Callable[[ModelProcess], Answer]) -> Answer:
        require_model(run, "GET /experiments?status=SUCCEEDED")
        held = self._hold(run.id)
        try:
            return use(held)
        except ServiceUnavailableError:
            if self._let_go(run.id, held) or self._stopping.is_set():
                raise
            return use(self._hold(run.id))  # another run's question had it let go before its turn came

    def close(self) -> None:
        """End all processes."""
        self._stopping.set()
        with self._lock:
            held, self._held = list(self._held.values()), OrderedDict()
        for process in held:
            process.stop()

    def _hold(self, run_id: str) -> ModelProcess:
        released = []
        with self._lock:
            held = self._held.get(run_id)
            if held is None or not held.is_alive:
                held = self._held[run_id] = ModelProcess(run_id)
            held.keep()
            self._held.move_to_end(run_id)
            while len(self._held) > self._most:
                released.append(self._held.popitem(last=False)[1])
            if self._watcher is None:
                self._watcher = threading.Thread(target=self._watch, name="idle models", daemon=True)
                self._watcher.start()
        for process in released:
            process.stop_after_answer()
        return held

    def _let_go(self, run_id: str, held: ModelProcess) -> bool:
        """End a process; tell whether it was still held."""
        with self._lock:
            was_held = self._held.get(run_id) is held
            if was_held:
                del self._held[run_id]
        held.stop()
        return was_held

    def _watch(self) -> None:
        while not self._stopping.wait(min(_LOOK_SECONDS, self._idle_seconds)):
            with self._lock:  # in one go, so that a question of this moment finds none that is about to end
                idle = [run_id for run_id, held in self._held.items() if held.idle_for > self._idle_seconds]
                released = [self._held.pop(run_id) for run_id in idle]
            for process in released:
                process.stop_after_answer()


class ModelProcess:
    """One process; questions are asked one after the other."""

    def __init__(self, run_id: str) -> None:
        command = [sys.executable, "-m", "finetune30", "answer", run_id]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        self._turn = threading.Lock()
        self._last = time.monotonic()
        self._in_work: set[AnswerInWork] = set()

    @property
    def is_alive(self) -> bool:
        """Whether it can still be asked."""
        return self._process.poll() is None

    def keep(self) -> None:
        """Count its idle time anew: a question is on its way."""
        self._last = time.monotonic()

    @property
    def idle_for(self) -> float:
        """Seconds since the last answer; none while it works."""
        return 0.0 if self._turn.locked() or self._is_waited_for else time.monotonic() - self._last

    @property
    def _is_waited_for(self) -> bool:
        return any(answer.is_waited_for for answer in self._in_work.copy())

    def add(self, answer: AnswerInWork) -> None:
        """Stay for an answer until it is removed, or forgotten."""
        self._in_work.add(answer)

    def remove(self, answer: AnswerInWork) -> None:
        """No longer stay for an answer."""
        self._in_work.discard(answer)

    def ask(self, question: dict[str, Any], seconds: float = ANSWER_SECONDS) -> dict[str, Any]:
        """Return the answer to a question; `read_answer` tells errors apart. Raises ServiceUnavailableError."""
        with self._turn:
            if not self.is_alive:
                raise _gone("the model's process ended")
            try:
                assert self._process.stdin is not None  # noqa: S101
                self._process.stdin.write(json.dumps(question).encode() + b"\n")
                self._process.stdin.flush()
                line = self._read_line(seconds)
            except OSError as error:
                raise _gone(f"the model's process ended ({error})") from error
            finally:
                self._last = time.monotonic()
        try:
            answer: dict[str, Any] = json.loads(line)
        except ValueError as error:
            raise _gone("the model's process ended while it answered") from error
        return answer

    def stop_after_answer(self) -> None:
        """End the process once it has answered what it was asked, conversations to their end."""
        while self._is_waited_for and self.is_alive:
            time.sleep(_TURN_SECONDS)
        with self._turn:
            self.stop()

    def stop(self) -> None:
        """End the process; whoever waits for its answer sees its end, so its pipes are closed last."""
        self._process.terminate()
        try:
            self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(OSError):
                if stream is not None:
                    stream.close()

    def _read_line(self, seconds: float) -> bytes:
        stream = self._process.stdout
        assert stream is not None  # noqa: S101
        with selectors.DefaultSelector() as selector:
            selector.register(stream, selectors.EVENT_READ)
            if not selector.select(seconds):
                raise _gone(f"the model did not answer within {seconds:.0f} s")
        return stream.readline()


class AnswerInWork:
    """An answer to a conversation, a token at a time; others that ask the same process get their turns in between."""

    def __init__(self, process: ModelProcess, question: Mapping[str, Any]) -> None:
        """Begin it. `prompt_tokens`: the tokens that ask for it."""
        self._process = process
        self._is_asking, self._last = True, time.monotonic()
        process.add(self)
        try:
            begun = self._ask({"chat": dict(question)})
        except BaseException:
            process.remove(self)
            raise
        self._number: int = begun["answer"]
        self.prompt_tokens: int = begun["prompt_tokens"]

    @property
    def is_waited_for(self) -> bool:
        """Whether somebody asked for more of it a short while ago."""
        return self._is_asking or time.monotonic() - self._last < FORGOTTEN_SECONDS

    def step(self) -> dict[str, Any]:
        """Return the next `text` ("" before a character is whole), or `finish_reason` and `tokens` at its end.

        Raises ServiceUnavailableError.
        """
        try:
            found = self._ask({"step": self._number})
        except ServiceUnavailableError:
            self._process.remove(self)
            self._process.stop()  # a line that comes late would be taken for the answer to the next question
            raise
        if "finish_reason" in found:
            self._process.remove(self)
        return found

    def leave(self) -> None:
        """Take no further turn; also after its end, or that of its process."""
        self._process.remove(self)
        with contextlib.suppress(ServiceUnavailableError, ValueError):  # ended, or its pipes closed under it
            self._process.ask({"leave": self._number})

    def _ask(self, question: dict[str, Any]) -> dict[str, Any]:
        self._is_asking = True
        try:
            return read_answer(self._process.ask(question))
        except ValueError as error:
            raise _gone("the model's process was ended") from error
        finally:
            self._is_asking, self._last = False, time.monotonic()


def read_answer(answer: dict[str, Any]) -> dict[str, Any]:
    """Return an answer of a model's process, or raise the error that it carries."""
    if "error" in answer:
        raise restore_error(answer)
    return answer


def _gone(message: str) -> ServiceUnavailableError:
    return ServiceUnavailableError(message, "ask again; if it stays so: ft30 predict RUN TEXT shows why")
