"""The work of an attempt's process: carry out the run that its supervisor has claimed."""

from __future__ import annotations

import faulthandler
import importlib
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from finetune30.errors import StaleAttemptError
from finetune30.service.execution.execute import Execution, StopReason, Work, execute, train_and_publish
from finetune30.settings import Settings
from finetune30.store import Claim, RunFolder, open_store

#: Names a function, `module:function:argument`, that gives other work than training: with it tests drill the rest.
DRILL_VARIABLE = "FT30_DRILL"


def carry_out_attempt(claim: Claim, settings: Settings) -> None:
    """Carry the claimed run out and record how it ended. SIGTERM makes it checkpoint and hand the run back.

    Raises StaleAttemptError when another attempt holds the run by now, and the Finetune30Error that ended the run.
    """
    faulthandler.enable()
    store = open_store(settings.resolved_database_url)
    try:
        if not store.lease(claim).held:
            raise StaleAttemptError(f"attempt {claim.attempt} of run {claim.run_id} does not hold the run any more")
        run = store.get(claim.run_id)
        folder = RunFolder(settings.results_folder / run.folder)
        explicit = frozenset(run.explicit_keys or ())
        with _released_on_sigterm() as stop_reason:
            execute(Execution(store, claim, run, folder, settings, explicit, None, stop_reason, _choose_work()))
    finally:
        store.close()


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
