"""A worker: takes turns when messages come, supervises attempts, and looks after lost runs.

Every message gives one turn, and a turn takes the first waiting run, whatever run the message names: priorities hold
exactly, and no message is worth anything in itself. A worker with a free place that finds runs waiting takes a turn
without a message too, so it goes on working while Redis is away. Turns choose one after another; one that finds too few
free places for the next run ends, and the end of any other run gives new ones.

A draining worker takes nothing new and ends once its attempts have; they are not disturbed. One that is stopped lets
them hand their runs back.
"""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Callable
from typing import Any

import finetune30
from finetune30.errors import Finetune30Error
from finetune30.jobs.publishing import QueuePublisher
from finetune30.jobs.reconciler import Reconciler
from finetune30.jobs.refusals import Refusals
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

    def __init__(
        self,
        store: RunStore,
        settings: Settings,
        node: str,
        slots: DeviceSlots,
        look_after: Callable[[QueuePublisher], object] | None = None,
    ) -> None:
        """`look_after` is done in every look of the reconciler, before it sends messages."""
        self._look_after = look_after
        self.stopping = threading.Event()  # attempts hand their runs back
        self.leaving = threading.Event()  # nothing new is taken
        self._folders, notes = own_folders(store, settings.results_folder, settings.data_folder)
        for note in notes:
            _log.warning("%s", note)
        self._store, self._settings, self._node, self._slots = store, settings, node, slots
        self._owner = own_identity()
        self._refusals = Refusals()
        self._other_versions: set[str] = set()  # of senders of messages, each told once
        self._publisher = QueuePublisher(settings)
        self._reconciler = Reconciler(
            store, self._publisher, settings, before=self._begin_look, after=self._fill_free_places
        )
        self._own_turns: list[threading.Thread] = []
        self._choosing = threading.Lock()

    def start(self) -> None:
        """Begin to look after runs."""
        self._reconciler.start()

    def drain(self) -> None:
        """Take nothing new from now on, and say so to whoever looks."""
        _log.info("draining: nothing new is taken; this worker ends with its attempts")
        self.leaving.set()
        self._reconciler.wake()

    def hand_back(self) -> None:
        """Let every attempt hand its run back, and take nothing new."""
        self.leaving.set()
        self.stopping.set()

    def wait_for_own_turns(self) -> None:
        """Wait until the turns that no message gave have ended."""
        for turn in self._own_turns:
            turn.join()

    def stop(self) -> None:
        """Let every attempt hand its run back, and wait for that."""
        self.hand_back()
        self._reconciler.stop()
        self.wait_for_own_turns()
        remove_worker(self._store, self._owner)
        self._publisher.close()

    def take_message(self, arguments: tuple[Any, ...], version: object = None) -> None:
        """Take one turn for a message; a message that names no run only wakes the reconciler.

        What a later version adds after the run id is left alone. `version` is that of the sender.
        """
        self._note_version(version)
        if not arguments or not isinstance(arguments[0], str) or not _RUN_ID.fullmatch(arguments[0]):
            _log.warning("a message without a run id came: looking for lost runs")
            self._reconciler.wake()
            return
        self._take_turn(wait=True)

    def _take_turn(self, *, wait: bool) -> None:
        """Carry out the next waiting run, if there is one and a place for it."""
        while wait and self._slots.free == 0 and not self.leaving.wait(_POLL_SECONDS):
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
            if self.leaving.is_set():
                return None
            for folder in self._folders:  # a disk may have gone since; runs then wait for a worker that has it
                folder.require()
            settings = self._settings
            return claim_next(
                self._store,
                self._owner,
                settings.lease_seconds,
                self._slots,
                settings.max_running_runs,
                self._refusals.explain,
            )

    def _note_version(self, version: object) -> None:
        """Tell once that messages come from another version, which is no fault: both read them."""
        if isinstance(version, str) and version != finetune30.__version__ and version not in self._other_versions:
            self._other_versions = {*list(self._other_versions)[:9], version}  # forged ones fill no memory
            _log.info("messages come from version %.40r too; this worker is %s", version, finetune30.__version__)

    def _begin_look(self) -> None:
        self._report()
        if self._look_after is not None and not self.leaving.is_set():
            self._look_after(self._publisher)

    def _report(self) -> None:
        refused = self._refusals.of_waiting(lambda: self._store.queue_places(self._settings.max_running_runs))
        report_worker(
            self._store,
            self._owner,
            self._node,
            self._slots.devices,
            draining=self.leaving.is_set(),
            refused=refused,
        )

    def _fill_free_places(self) -> None:
        """Begin turns of our own for the runs that wait although places are free."""
        self._own_turns = [turn for turn in self._own_turns if turn.is_alive()]
        free = self._slots.free
        if self.leaving.is_set() or free == 0:
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
    look_after: Callable[[QueuePublisher], object] | None = None,
    log_level: str = "INFO",
) -> int:
    """Listen and work until told to end; `look_after` is done in every look at the runs. Returns the exit code.

    SIGTERM and SIGINT let attempts hand their runs back; SIGUSR2 lets them end (a SIGTERM after it does not).
    """
    import signal
    import warnings

    from celery.exceptions import SecurityWarning
    from celery.signals import worker_shutting_down
    from celery.worker import state

    from finetune30.jobs.broker_log import BrokerLog
    from finetune30.jobs.celery_app import build_worker_app

    warnings.simplefilter("ignore", SecurityWarning)  # about root and pickle; nothing but JSON is accepted here
    worker = Worker(store, settings, node, slots, look_after)
    app = build_worker_app(settings, worker.take_message)
    BrokerLog(settings).install()

    def hand_back(**_: Any) -> None:
        worker.hand_back()

    drains: list[threading.Thread] = []

    def drain(*_: object) -> None:
        drains.append(threading.Thread(target=worker.drain, name="drain"))
        drains[-1].start()  # a handler that waits for a lock waits for ever
        state.should_stop = 0  # what a warm shutdown of Celery sets, without its signal, which hands runs back

    signal.signal(signal.SIGUSR2, drain)
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
        for thread in drains:
            thread.join()
        if drains and not worker.stopping.is_set():
            worker.wait_for_own_turns()
    finally:
        asked = worker.leaving.is_set()
        worker.stop()
    return 0 if asked else int(listener.exitcode or 0)  # Celery calls a stop by Ctrl-C a failure
