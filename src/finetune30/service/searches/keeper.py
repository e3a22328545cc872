"""Looking after searches in a worker's look at the runs."""

from __future__ import annotations

import logging
import subprocess
import sys
from typing import TYPE_CHECKING

from finetune30.errors import Finetune30Error
from finetune30.settings import Settings
from finetune30.store import RunStore
from finetune30.store.searches import Search, list_driven

if TYPE_CHECKING:
    from finetune30.service.submitting.submission import Publisher

_log = logging.getLogger(__name__)


class SearchKeeper:
    """Looks after all searches whose trials workers carry out; a trouble of one is told once and holds up no other.

    The one that judges a best trial opens the test rows for it, in a process of its own.
    """

    def __init__(self, store: RunStore, settings: Settings) -> None:
        self._store, self._settings = store, settings
        self._troubles: dict[str, str] = {}
        self._looks: list[subprocess.Popen[bytes]] = []

    def look(self, publisher: Publisher) -> None:
        """Take every search one look further. Raises StorageError where they cannot even be listed."""
        for search in list_driven(self._store):
            from finetune30.service.searches.advancing import advance  # most workers never meet a search

            try:
                if advance(self._store, search.id, self._settings, publisher):
                    self._open_test_rows(search)
                self._troubles.pop(search.id, None)
            except Finetune30Error as error:
                if self._troubles.get(search.id) != error.message:
                    _log.warning("search %s waits: %s", search.id[:8], error.message)
                    self._troubles[search.id] = error.message
            except Exception:  # noqa: BLE001 - runs are looked after whatever a search meets
                _log.exception("search %s could not be taken further", search.id[:8])

    def close(self) -> None:
        """End the looks at test rows that are under way; they count."""
        for look in self._looks:
            look.terminate()
            look.wait()

    def _open_test_rows(self, search: Search) -> None:
        from finetune30.service.runs.open_records import Records
        from finetune30.service.searches.opening import has_rows_to_test
        from finetune30.service.searches.standing import load_standing

        self._looks = [look for look in self._looks if look.poll() is None]
        records = Records(self._store, self._settings.results_folder)
        if has_rows_to_test(records, load_standing(self._store, search.id), self._settings):
            command = [sys.executable, "-m", "finetune30", "search", "test", search.id, "--once"]
            command += ["--device", self._settings.answer_device]
            self._looks.append(subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL))
