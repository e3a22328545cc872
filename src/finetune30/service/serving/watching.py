"""Following the registry: each second every name is looked up; another version is loaded beside the one that answers,
checked through HTTP, and swapped in. One that fails leaves the old one answering.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from finetune30.errors import Finetune30Error
from finetune30.service.serving.slots import Loaded, Slot, Slots
from finetune30.store import RunStore
from finetune30.store.model_records import ModelVersion
from finetune30.store.model_registry import find_model, find_version

LOOK_SECONDS = 1.0
#: A version that could not be loaded for want of memory, disk or network is tried again after so long.
AGAIN_SECONDS = 30.0

#: Loads a version; `generation` is that of the alias which leads to it.
Load = Callable[[ModelVersion, int | None], Loaded]
#: Asks a version through HTTP. Raises SelfTestError where it does not give its serving reference.
Check = Callable[[Slot, Loaded], None]

_log = logging.getLogger(__name__)


class Watcher:
    """One thread; `told` hears of every swap: name and outcome (swapped, refused)."""

    def __init__(
        self, store: RunStore, slots: Slots, load: Load, check: Check, told: Callable[[str, str], None]
    ) -> None:
        self._store, self._slots, self._load, self._check, self._told = store, slots, load, check, told
        self._stopping = threading.Event()
        self._tried: dict[int, tuple[ModelVersion, float]] = {}
        #: Why the server cannot begin, once a first version failed.
        self.failure: Finetune30Error | None = None

    def begin(self, failed: Callable[[], None]) -> threading.Thread:
        """Start to follow; `failed` is called where a first version does not come to answer."""
        thread = threading.Thread(target=self._watch, args=(failed,), name="registry", daemon=True)
        thread.start()
        return thread

    def stop(self) -> None:
        """Look no more."""
        self._stopping.set()

    def look(self) -> None:
        """Look every name up once. Raises what a first version fails with."""
        for slot in self._slots.slots:
            try:
                wanted, generation = self._find(slot)
            except Finetune30Error as error:
                if slot.live is None:
                    raise
                _log.warning("%s: %s", slot.reference, error.message)  # it goes on with what it has
                continue
            if self._is_new(slot, wanted):
                self._swap(slot, wanted, generation)

    def _watch(self, failed: Callable[[], None]) -> None:
        while True:
            try:
                self.look()
            except Finetune30Error as error:
                self.failure = error
                failed()
                return
            if self._stopping.wait(LOOK_SECONDS):
                return

    def _find(self, slot: Slot) -> tuple[ModelVersion, int | None]:
        reference = slot.reference
        version = find_version(self._store, reference)
        aliases = find_model(self._store, reference.model).aliases
        generation = next((one.generation for one in aliases if one.alias == reference.alias), None)
        return version, generation

    def _is_new(self, slot: Slot, wanted: ModelVersion) -> bool:
        if slot.live is not None and slot.live.version.number == wanted.number:
            slot.refused = None  # the alias was moved back
            return False
        if slot.refused is not None and slot.refused[0] == wanted.number:
            return False
        tried = self._tried.get(id(slot))
        return tried is None or tried[0].number != wanted.number or time.monotonic() - tried[1] > AGAIN_SECONDS

    def _swap(self, slot: Slot, wanted: ModelVersion, generation: int | None) -> None:
        try:
            loaded = self._load(wanted, generation)
            self._slots.offer(slot, loaded)
            self._check(slot, loaded)
        except Finetune30Error as error:
            if slot.live is None:
                raise
            _log.error("%s stays at version %d: %s", slot.reference, slot.live.version.number, error.message)
            self._tried[id(slot)] = (wanted, time.monotonic())
            self._slots.settle(slot, error.message)
            if error.retryable:
                slot.refused = None
            self._told(str(slot.reference), "refused")
            return
        self._slots.settle(slot, None)
        self._told(str(slot.reference), "swapped")
        _log.info("%s answers with version %d", slot.reference, wanted.number)
