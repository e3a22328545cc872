"""Whether a lease that ran out by this process's clock may be believed to have run out.

On PostgreSQL one clock, the database's, judges all leases. On SQLite each process judges by its own, and a clock may be
wrong: set forward, or that of a machine that slept. A process that lives on this host and goes on renewing must not
lose its run to that, so its lease counts as run out only when it was seen unchanged for long enough, measured by the
clock that nobody sets.
"""

from __future__ import annotations

import threading
import time
from datetime import datetime

from finetune30.store.process_identity import is_dead
from finetune30.store.records import Run


class LeaseDoubts:
    """Remembers the leases that looked as if they had run out, from one look of this process to the next."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        #: Run -> the lease that was seen, and since when (`time.monotonic`, seconds).
        self._seen: dict[str, tuple[int, datetime | None, float]] = {}

    def settle(self, suspects: list[tuple[Run, str]], patience_seconds: float) -> list[tuple[Run, str]]:
        """Return those of the lost runs that are lost for sure.

        `suspects` are all that look lost at this moment. A run whose holder lives on this host has to look so, with the
        same lease, since `patience_seconds` at least.
        """
        moment = time.monotonic()
        sure, seen = [], {}
        with self._lock:
            for run, reason in suspects:
                if not run.lease_owner or is_dead(run.lease_owner) is not False:
                    sure.append((run, reason))
                    continue
                known = self._seen.get(run.id)
                if known is None or known[:2] != (run.attempt, run.lease_until):
                    known = (run.attempt, run.lease_until, moment)
                elif moment - known[2] >= patience_seconds:
                    sure.append((run, reason))
                seen[run.id] = known
            self._seen = seen
        return sure
