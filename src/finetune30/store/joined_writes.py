"""Small changes that several threads want to make at the same moment, made in one transaction.

SQLite has one writer at a time, and a commit waits for the disk: fifty clients that submit would wait for hundreds of
turns. Whoever gets the turn makes the changes of all that wait for it. PostgreSQL has as many writers as there are
threads; there only changes are put together that no other transaction can hold up or meet, to save commits.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import IntegrityError

from finetune30.errors import StorageError
from finetune30.store.database import writing

T = TypeVar("T")


@dataclass(eq=False)
class _Change:
    make: Callable[[Connection], Any]
    durable: bool
    may_meet_others: bool
    is_done: bool = False
    made: Any = None
    fault: StorageError | IntegrityError | None = None


def write_jointly(
    engine: Engine, make: Callable[[Connection], T], *, durable: bool = True, may_meet_others: bool = False
) -> T:
    """Return what `make` gives in a transaction that may make changes of other threads as well.

    `make` only executes statements: it may be executed beside others, in no particular order. `durable`: see `writing`.
    `may_meet_others`: it changes what other transactions change too, or may break a rule of the table.
    Raises StorageError, and IntegrityError where the change itself met one; the others are made all the same.
    """
    if may_meet_others and engine.dialect.name != "sqlite":
        with writing(engine, durable=durable) as connection:
            return make(connection)
    change = _Change(make, durable, may_meet_others)
    _queue_of(engine).make(engine, change)
    if change.fault is not None:
        raise change.fault
    made: T = change.made
    return made


class _Queue:
    def __init__(self) -> None:
        self._waiting: list[_Change] = []
        self._turn, self._lock = threading.Lock(), threading.Lock()

    def make(self, engine: Engine, change: _Change) -> None:
        with self._lock:
            self._waiting.append(change)
        with self._turn:
            if change.is_done:
                return
            with self._lock:
                changes, self._waiting = self._waiting, []
            try:
                _make_all(engine, changes)
            except StorageError as error:
                for one in changes:  # an error of its own for each: whoever raises it adds where
                    one.fault = StorageError(error.message, error.remedy)
            finally:
                for one in changes:
                    one.is_done = True


_queues: WeakKeyDictionary[Engine, _Queue] = WeakKeyDictionary()
_making_queues = threading.Lock()


def _queue_of(engine: Engine) -> _Queue:
    with _making_queues:
        return _queues.setdefault(engine, _Queue())


def _make_all(engine: Engine, changes: list[_Change]) -> None:
    durable = any(change.durable for change in changes)
    if len(changes) == 1:
        try:
            with writing(engine, durable=durable) as connection:
                changes[0].made = changes[0].make(connection)
        except IntegrityError as error:
            changes[0].fault = error
        return
    with writing(engine, durable=durable) as connection:
        for change in changes:
            if not change.may_meet_others:
                change.made = change.make(connection)
                continue
            try:
                with connection.begin_nested():
                    change.made = change.make(connection)
            except IntegrityError as error:
                change.fault = error
