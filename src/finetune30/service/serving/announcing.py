"""What a server answers with, on record as long as it runs, so that a promotion can be waited for."""

from __future__ import annotations

import logging
import threading
import time
import uuid
from typing import Any

from finetune30.errors import StorageError
from finetune30.service.serving.slots import Slots
from finetune30.store import RunStore
from finetune30.store.process_identity import own_identity
from finetune30.store.servers import SILENT_SECONDS, remove_server, tell_server

#: How often it is looked for a change, which is told at once; without one the row is renewed less often.
LOOK_SECONDS = 0.5
RENEW_SECONDS = SILENT_SECONDS / 3

_log = logging.getLogger(__name__)


class Announcer:
    """One thread; `stop` takes the row away. A database out of reach is waited for: nobody's answer depends on it."""

    def __init__(self, store: RunStore, slots: Slots, address: str) -> None:
        self._store, self._slots, self._address = store, slots, address
        self._id, self._owner = uuid.uuid4().hex, own_identity()
        self._stopping = threading.Event()
        self._told: list[dict[str, Any]] | None = None
        self._told_at = 0.0
        self._thread = threading.Thread(target=self._keep_telling, name="announcing", daemon=True)

    def begin(self) -> None:
        """Tell of the server, from now on."""
        self._thread.start()

    def stop(self) -> None:
        """Tell no more."""
        self._stopping.set()
        self._thread.join()
        try:
            remove_server(self._store, self._id)
        except StorageError as error:
            _log.warning("the row of this server stays until it is forgotten: %s", error.message)

    def tell(self) -> None:
        """Tell what is new, or that the server is there still, where it is time. Raises StorageError."""
        names = [slot.describe(why=True) for slot in self._slots.slots]
        if names == self._told and time.monotonic() - self._told_at < RENEW_SECONDS:
            return
        tell_server(self._store, self._id, self._owner, self._address, names)
        self._told, self._told_at = names, time.monotonic()

    def _keep_telling(self) -> None:
        is_away = False
        while not self._stopping.is_set():
            try:
                self.tell()
                is_away = False
            except StorageError as error:
                if not is_away:
                    _log.warning("this server is not on record: %s", error.message)
                is_away = True
            self._stopping.wait(LOOK_SECONDS)
