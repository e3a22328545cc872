"""A worker: takes turns when messages come, supervises attempts, and looks after lost runs.

Every message gives one turn, and a turn takes the first waiting run, whatever run the message names: priorities hold
exactly, and no message is worth anything in itself. A worker with a free place that finds runs waiting takes a turn
without a message too, so it goes on working while Redis is away. Turns choose one after another; one that finds too few
free places for the next run ends, and the end of any other run gives new ones.
"""

from __future__ import annotations

import logging
import re
import threading
from typing import Any

from finetune30.errors import Finetune30Error
from finetune30.jobs.publishing import QueuePublisher
from finetune30.jobs.reconciler import Reconciler
from finetune30.jobs.slots import DeviceSlots, Slot
from finetune30.jobs.supervisor import claim_next, supervise
from finetune30.settings import Settings
from finetune30.store import Claim, RunStore
from finetune30.store.folder_marks import own_folders
from finetune30.store.process_identity import own_identity
from finetune30.store.workers import remove_worker, report_worker

_RUN_ID = re.compile(r"[0-9a-f]{32}")
#: How often a turn that waits for a place looks for one: another worker of this machine may hold its GPU.
_POLL_SECONDS = 0.5
_log = logging.getLogger(__name__)


class Worker:
    """The work of one worker process, apart from listening for messages.

    Raises StorageError where the results or data folder is not the one of the database.
    """

    def __init__(self, store: RunStore, settings: Settings, node: str, slots: DeviceSlots) -> None:
        self.stopping = threading.Event()
        self._folders, notes = own_folders(store, settings.results_folder, settings.data_folder)
        for note in notes:
            _log.warning("%s", note)
        self._store, self._settings, self._node, self._slots = store, settings, node, slots
        self._owner = own_identity()
        self._publisher = QueuePublisher(settings)
        self._reconciler = Reconciler(
            store, self._publisher, settings, before=self._report, after=self._fill_free_places
        )
        self._own_turns: list[threading.Thread] = []
        self._choosing = threading.Lock()

    def start(self) -> None:
        """Begin to look after runs."""
        self._reconciler.start()

    def stop(self) -> None:
        """Let every attempt hand its run back, and wait for that."""
        self.stopping.set()
        self._reconciler.stop()
        for turn in self._own_turns:
            turn.join()
        remove_worker(self._store, self._owner)
        self._publisher.close()

    def take_message(self, arguments: tuple[Any, ...]) -> None:
        """Take one turn for a message; a message that names no run only wakes the reconciler."""
        if len(arguments) != 1 or not isinstance(arguments[0], str) or not _RUN_ID.fullmatch(arguments[0]):
            _log.warning("a message without a run id came: looking for lost runs")
            self._reconciler.wake()
            return
        self._take_turn(wait=True)

    def _take_turn(self, *, wait: bool) -> None:
        """Carry out the next waiting run, if there is one and a place for it."""
        while wait and self._slots.free == 0 and not self.stopping.wait(_POLL_SECONDS):
            continue
        taken = None
        try:
            taken = self._choose()
            if taken is not None:
                supervise(self._store, taken[0], self._settings, taken[1], self.stopping)
        except Finetune30Error as error:  # the row is as it was, or its lease runs out: a reconciler goes on
            _log.warning("turn ended early: %s", error.message)
        finally:
            if taken is not None:
                self._slots.give_back(taken[1])
        if taken is not None:
            self._reconciler.wake()  # more may wait, also what the limit of this run's submitter held

    def _choose(self) -> tuple[Claim, Slot] | None:
        """Claim a run with its places; one turn after another, so that none takes the places of another's choice."""
        with self._choosing:
            if self.stopping.is_set():
                return None
            for folder in self._folders:  # a disk may have gone since; runs then wait for a worker that has it
                folder.require()
            settings = self._settings
            return claim_next(self._store, self._owner, settings.lease_seconds, self._slots, settings.max_running_runs)

    def _report(self) -> None:
        report_worker(self._store, self._owner, self._node, self._slots.devices)

    def _fill_free_places(self) -> None:
        """Begin turns of our own for the runs that wait although places are free."""
        self._own_turns = [turn for turn in self._own_turns if turn.is_alive()]
        free = self._slots.free
        if self.stopping.is_set() or free == 0:
            return
        most_running, most_places = self._settings.max_running_runs, len(self._slots.devices)
        for _ in self._store.queue(free, most_running=most_running, most_places=most_places):
            turn = threading.Thread(target=self._take_turn, kwargs={"wait": False}, name="turn-without-message")
            self._own_turns.append(turn)
            turn.start()


def run_worker(
    store: RunStore,
    settings: Settings,
    node: str,
    slots: DeviceSlots,
    *,
    log_level: str = "INFO",
) -> int:
    """Listen and work until SIGTERM or SIGINT; then hand running work back. Returns the exit code."""
    import warnings

    from celery.exceptions import SecurityWarning
    from celery.signals import worker_shutting_down

    from finetune30.jobs.broker_log import BrokerLog
    from finetune30.jobs.celery_app import build_worker_app

    warnings.simplefilter("ignore", SecurityWarning)  # about root and pickle; nothing but JSON is accepted here
    worker = Worker(store, settings, node, slots)
    app = build_worker_app(settings, worker.take_message)
    BrokerLog(settings).install()

    def hand_back(**_: Any) -> None:
        worker.stopping.set()

    worker_shutting_down.connect(hand_back, weak=False)
    listener = app.Worker(
        hostname=node,
        pool="threads",
        concurrency=len(slots.devices),
        loglevel=log_level,
        without_gossip=True,
        without_mingle=True,
        without_heartbeat=True,
        quiet=True,
    )
    worker.start()
    try:
        listener.start()
    finally:
        asked = worker.stopping.is_set()
        worker.stop()
    return 0 if asked else int(listener.exitcode or 0)  # Celery calls a stop by Ctrl-C a failure
