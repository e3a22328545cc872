"""Following the registry: each second every name is looked up; another version is loaded beside the one that answers,
checked through HTTP, and swapped in. One that fails leaves the old one answering.
"""

from __future__ import annotations

import gc
import logging
import threading
import time
import weakref
from collections.abc import Callable

from finetune30 import failpoints
from finetune30.errors import (
    Finetune30Error,
    ModelError,
    OutOfMemoryError,
    ServiceUnavailableError,
    StorageError,
    first_line,
)
from finetune30.modeling.memory import is_out_of_memory, return_freed_memory
from finetune30.service.serving.slots import Loaded, Refused, Slot, Slots
from finetune30.store import RunStore
from finetune30.store.model_records import ModelVersion
from finetune30.store.model_registry import find_followed

LOOK_SECONDS = 1.0
#: A version that could not be loaded for want of memory, disk or network is tried again after so long.
AGAIN_SECONDS = 30.0

#: Loads a version; `generation` is that of the alias which leads to it.
Load = Callable[[ModelVersion, int | None], Loaded]
#: Asks a version through HTTP. Raises SelfTestError where it does not give its serving reference.
Check = Callable[[Slot, Loaded], None]

_LOG = "look into the log of the server"
_log = logging.getLogger(__name__)


class Watcher:
    """One thread; `told` hears of every swap: name and outcome (swapped, refused)."""

    def __init__(
        self, store: RunStore, slots: Slots, load: Load, check: Check, told: Callable[[str, str], None]
    ) -> None:
        self._store, self._slots, self._load, self._check, self._told = store, slots, load, check, told
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        #: What went wrong with a name last: said once, not each second.
        self._said: dict[str, str] = {}
        #: Models that were swapped out, for as long as a request holds them.
        self._former: list[weakref.ref[object]] = []
        #: Whether a version failed, or left, whose parts may be in memory still.
        self._has_litter = False
        #: Why the server cannot begin, once a first version failed.
        self.failure: Finetune30Error | None = None

    def begin(self, failed: Callable[[], None]) -> None:
        """Start to follow; `failed` is called where a first version does not come to answer."""
        self._thread = threading.Thread(target=self._watch, args=(failed,), name="registry", daemon=True)
        self._thread.start()

    def stop(self, seconds: float) -> None:
        """Look no more; wait so long for a version that is being loaded."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(seconds)

    def look(self) -> None:
        """Look every name up once. Raises what a first version fails with, unless the same may work in a moment."""
        for slot in self._slots.slots:
            self._try(slot)
        self._free()

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

    def _try(self, slot: Slot) -> None:
        try:
            self._follow(slot)
            self._said.pop(str(slot.reference), None)
        except Exception as fault:  # noqa: BLE001 - whatever it is, the others are followed on
            error = _as_error(slot, fault)
            if slot.live is None and not isinstance(error, ServiceUnavailableError):
                raise error from (None if error is fault else fault)
            self._say(slot, error, fault)  # it goes on with what it has

    def _follow(self, slot: Slot) -> None:
        wanted, generation = find_followed(self._store, slot.reference)
        if slot.live is not None and slot.live.version.number == wanted.number:
            self._slots.keep(slot, generation)
        elif _is_due(slot.refused, wanted, generation):
            self._swap(slot, wanted, generation)

    def _swap(self, slot: Slot, wanted: ModelVersion, generation: int | None) -> None:
        try:
            loaded = self._load(wanted, generation)
            failpoints.reach("serving.swap.after_load")
            self._slots.offer(slot, loaded)
            self._check(slot, loaded)
            failpoints.reach("serving.swap.before_accept")
        except Exception as fault:
            error = _as_error(slot, fault)
            again = time.monotonic() + AGAIN_SECONDS if error.retryable else None
            self._slots.refuse(slot, Refused(wanted.number, generation, error.message, again))
            self._has_litter = True
            self._told(str(slot.reference), "refused")
            raise
        if slot.live is not None:  # requests may hold it still
            self._former.append(weakref.ref(slot.live.texts or slot.live.talks))
        self._slots.accept(slot)
        failpoints.reach("serving.swap.after_accept")
        self._has_litter = True
        self._told(str(slot.reference), "swapped")
        _log.info("%s answers with version %d", slot.reference, wanted.number)

    def _say(self, slot: Slot, error: Finetune30Error, fault: Exception) -> None:
        name = str(slot.reference)
        if self._said.get(name) != error.message:
            self._said[name] = error.message
            stays = "has no version" if slot.live is None else f"stays at version {slot.live.version.number}"
            _log.error("%s %s: %s", name, stays, error.message, exc_info=fault if error is not fault else None)

    def _free(self) -> None:
        """Give back the memory of what failed, and of models that were swapped out once the last request let one go.

        What torch and transformers build holds itself in cycles, which Python would leave for long.
        """
        held = [former for former in self._former if former() is not None]
        if len(held) < len(self._former) or self._has_litter:
            self._former, self._has_litter = held, False
            gc.collect()
            return_freed_memory()


def _is_due(refused: Refused | None, wanted: ModelVersion, generation: int | None) -> bool:
    """Tell whether a version that does not answer yet is to be loaded now."""
    if refused is None or (refused.number, refused.generation) != (wanted.number, generation):
        return True
    return refused.again is not None and time.monotonic() >= refused.again


def _as_error(slot: Slot, fault: Exception) -> Finetune30Error:
    """Return a fault of whatever library as an error that says what was done, and whether it may work later."""
    if isinstance(fault, Finetune30Error) and not isinstance(fault, OutOfMemoryError):
        return fault
    if isinstance(fault, OSError):
        return StorageError(f"a version of {slot.reference} could not be read: {first_line(fault)}", _LOG)
    if isinstance(fault, OutOfMemoryError) or is_out_of_memory(fault):
        return ServiceUnavailableError(
            f"memory ran out while a version of {slot.reference} was loaded: {first_line(fault)}",
            "serve fewer models on this machine, or give it more memory",
        )
    return ModelError(
        f"a version of {slot.reference} could not be loaded and checked: {type(fault).__name__}: {first_line(fault)}",
        _LOG,
    )
