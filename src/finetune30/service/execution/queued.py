"""The work of an attempt's process: carry out the run that its supervisor has claimed."""

from __future__ import annotations

import faulthandler
import importlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TypeVar

from finetune30.errors import StaleAttemptError, StorageError
from finetune30.service.execution.execute import Execution, StopReason, Work, execute, train_and_publish
from finetune30.service.execution.group import Group, train_together
from finetune30.settings import Settings
from finetune30.store import Claim, RunFolder, open_store

#: Names a function, `module:function:argument`, that gives other work than training: with it tests drill the rest.
DRILL_VARIABLE = "FT30_DRILL"
#: Time between two looks for a database that is away.
_LOOK_SECONDS = 1.0

T = TypeVar("T")


def count_of_attempt(claim: Claim, settings: Settings) -> int:
    """Return how many processes carry the claimed run out: one on each of its places."""
    store = _insist(settings, lambda: open_store(settings.resolved_database_url))
    try:
        return _insist(settings, lambda: store.get(claim.run_id)).places
    finally:
        store.close()


def carry_out_attempt(claim: Claim, settings: Settings, *, together: bool = False) -> None:
    """Carry the claimed run out and record how it ended. SIGTERM makes it checkpoint and hand the run back.

    `together`: as one of the processes of this attempt, of which the first one does all that and the others follow.
    Whatever else the environment says of launchers is that of whoever started the worker.

    Raises StaleAttemptError when another attempt holds the run by now, and the Finetune30Error that ended the run.
    """
    faulthandler.enable()
    if together:
        train_together(settings, lambda group: _lead(claim, settings, group))
    else:
        _lead(claim, settings, Group())


def _lead(claim: Claim, settings: Settings, group: Group) -> None:
    store = _insist(settings, lambda: open_store(settings.resolved_database_url))
    try:
        if not _insist(settings, lambda: store.lease(claim)).held:
            raise StaleAttemptError(f"attempt {claim.attempt} of run {claim.run_id} does not hold the run any more")
        run = _insist(settings, lambda: store.get(claim.run_id))
        folder = RunFolder(settings.results_folder / run.folder)
        explicit = frozenset(run.explicit_keys or ())
        with _released_on_sigterm() as stop_reason:
            tools = Execution(
                store, claim, run, folder, settings, explicit, None, stop_reason, _choose_work(), group=group
            )
            execute(tools)
    finally:
        store.close()


def _insist(settings: Settings, ask: Callable[[], T]) -> T:
    """Ask the database; where it is out of reach, again for as long as a lease lasts.

    The supervisor keeps the lease meanwhile, and ends this process when it has to be given up. Raises StorageError.
    """
    deadline = time.monotonic() + settings.lease_seconds
    while True:
        try:
            return ask()
        except StorageError:
            if time.monotonic() > deadline:
                raise
            time.sleep(min(_LOOK_SECONDS, settings.lease_seconds / 10))


def _choose_work() -> Work:
    named = os.environ.get(DRILL_VARIABLE)
    if not named:
        return train_and_publish
    module, function, argument = named.split(":")
    work: Work = getattr(importlib.import_module(module), function)(argument)
    return work


@contextmanager
def _released_on_sigterm() -> Iterator[StopReason]:
    asked = False

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        asked = True

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield lambda: "released" if asked else None
    finally:
        signal.signal(signal.SIGTERM, before)
