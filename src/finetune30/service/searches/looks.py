"""Looks at the test rows of searches in processes of their own, so that whoever asks stays free of torch."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading

from finetune30.service.runs.open_records import Records
from finetune30.service.searches.standing import load_standing
from finetune30.service.searches.testable import find_end_to_test
from finetune30.settings import Settings
from finetune30.store.search_ends import list_tests
from finetune30.store.searches import Search

_log = logging.getLogger(__name__)


class SearchLooks:
    """One look of a search at a time; safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, records: Records, settings: Settings, search: Search, by: str) -> None:
        """Begin a look unless one of the search is under way. Raises what `find_end_to_test` raises.

        Which look was asked for is settled here: of all that ask at the same moment, in whichever process, one has it.
        """
        find_end_to_test(records, load_standing(records.store, search.id), settings)
        earlier = list_tests(records.store, search.id)
        if any(one.goes_on for one in earlier):
            return
        with self._lock:
            if search.id not in self._running:
                words = [search.id, "--by", by, "--device", settings.answer_device, "--look", str(len(earlier) + 1)]
                self._running[search.id] = look = start_look(*words)
                name = f"test look {search.id[:8]}"
                threading.Thread(target=self._wait, args=(search.id, look), name=name, daemon=True).start()

    def is_idle(self) -> bool:
        """Whether no look is under way that was begun here."""
        with self._lock:
            return not self._running

    def close(self) -> None:
        """End the looks under way; they count."""
        with self._lock:
            running = list(self._running.values())
        for look in running:
            look.terminate()
            look.wait()

    def _wait(self, search_id: str, look: subprocess.Popen[bytes]) -> None:
        code = look.wait()
        with self._lock:
            self._running.pop(search_id, None)
        if code:
            _log.warning("search %s: the look at its test rows ended with %d", search_id[:8], code)


def start_look(*words: str) -> subprocess.Popen[bytes]:
    """Begin `ft30 search test` with these words in a process of its own."""
    command = [sys.executable, "-m", "finetune30", "search", "test", *words]
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
