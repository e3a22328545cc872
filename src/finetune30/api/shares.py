"""Places that callers share, so that nobody takes those of the next one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from finetune30.errors import QuotaError


class Shares:
    """So many places at a time; a caller may have half of those that others leave. For one event loop."""

    def __init__(self, most: int, refuse: Callable[[int], QuotaError]) -> None:
        """`refuse` says that a caller has so many places, and what to do for want of one more."""
        self._most, self._refuse = most, refuse
        self._taken: Counter[str] = Counter()

    def require(self, caller: str) -> None:
        """Raise QuotaError when a caller has its share."""
        own = self._taken[caller]
        if 2 * own >= self._most - (self._taken.total() - own):
            raise self._refuse(own)

    def take(self, caller: str) -> None:
        """Take a place, to be given back with `free`."""
        self._taken[caller] += 1

    def free(self, caller: str) -> None:
        """Give a place back."""
        self._taken[caller] -= 1
        if not self._taken[caller]:
            del self._taken[caller]
