"""Looking after searches in a worker's look at the runs."""

from __future__ import annotations

import logging
import subprocess
from typing import TYPE_CHECKING

from finetune30.errors import Finetune30Error
from finetune30.settings import Settings
from finetune30.store import RunStore
from finetune30.store.searches import Search, SearchStatus, list_driven

if TYPE_CHECKING:
    from finetune30.service.submitting.submission import Publisher

_log = logging.getLogger(__name__)


class SearchKeeper:
    """Looks after all searches whose trials workers carry out; a trouble of one is told once and holds up no other.

    Test rows of a judged end that nobody has opened are opened in a process of its own, one a search: whoever is
    killed before leaves that to the next look of another worker.
    """

    def __init__(self, store: RunStore, settings: Settings) -> None:
        self._store, self._settings = store, settings
        self._troubles: dict[str, str] = {}
        self._unopened: set[str] = set()
        self._looks: dict[str, subprocess.Popen[bytes]] = {}

    def look(self, publisher: Publisher) -> None:
        """Take every search one look further. Raises StorageError where they cannot even be listed."""
        for search in list_driven(self._store):
            from finetune30.service.searches.advancing import advance  # most workers never meet a search

            try:
                advance(self._store, search.id, self._settings, publisher)
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
        for look in self._looks.values():
            look.terminate()
            look.wait()

    def _open_test_rows(self, search: Search) -> None:
        from finetune30.store.search_ends import is_untested, load_end

        end = load_end(self._store, search.id)
        if end is None or search.status is SearchStatus.RUNNING or not is_untested(self._store, end):
            return
        look = self._looks.get(search.id)
        if look is None:
            from finetune30.service.searches.looks import start_look

            self._looks[search.id] = start_look(search.id, "--once", "--device", self._settings.answer_device)
        elif look.poll() is not None and search.id not in self._unopened:
            self._unopened.add(search.id)
            _log.warning(
                "search %s: the process that was to open its test rows ended with %d before; "
                "open them with: ft30 search test %s --once", search.id[:8], look.returncode, search.id[:8],
            )  # fmt: skip
