"""Runs that this version cannot carry out, because another one recorded them: left to a worker that can.

A worker looks at a run's configuration before it claims the run. One with a key or a value that this package does not
know is passed over, whatever comes after it in the queue, and reported with the reason; it never fails for that.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection

from finetune30.config.loading import validate_tree
from finetune30.errors import ConfigError
from finetune30.store import Run

#: So many reasons are remembered and reported; runs beyond them are passed over all the same.
MOST_REPORTED = 100
_LONGEST_REASON = 300
_log = logging.getLogger(__name__)


class Refusals:
    """What one worker refuses, by run id; safe to share between threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._reasons: dict[str, str] = {}

    def explain(self, run: Run) -> str | None:
        """Return why this version cannot carry the run out; None when it can."""
        with self._lock:
            known = self._reasons.get(run.id)
        if known is not None:
            return known
        reason = _find_fault(run)
        if reason is not None:
            with self._lock:
                self._reasons[run.id] = reason
                while len(self._reasons) > MOST_REPORTED:
                    del self._reasons[next(iter(self._reasons))]
            _log.warning("run %s is left to a worker of another version: %s", run.id, reason)
        return reason

    def of_waiting(self, load_waiting: Callable[[], Collection[str]]) -> dict[str, str]:
        """Return id -> reason of the refused runs that still wait, and forget the others.

        `load_waiting` returns the ids of the waiting runs; it is called only where something was refused.
        """
        if not self._reasons:
            return {}
        waiting = load_waiting()
        with self._lock:
            self._reasons = {run_id: why for run_id, why in self._reasons.items() if run_id in waiting}
            return dict(self._reasons)


def _find_fault(run: Run) -> str | None:
    try:
        validate_tree(run.config)
    except ConfigError as error:
        faults = (error.details or {}).get("faults", [])
        said = "; ".join(f"{fault['key']}: {fault['problem']}" for fault in faults) or error.message
        return said if len(said) <= _LONGEST_REASON else f"{said[: _LONGEST_REASON - 3]}..."
    return None
