"""How long tests wait for what ought to happen: limits hold for machines much slower than those they were found on."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

#: Times as slow as the machine on which the seconds in the tests were measured.
SLOWEST = 8
LOOK_SECONDS = 0.1


def patient(seconds: float) -> float:
    """Return the seconds that the slowest machine may take for what takes so many elsewhere."""
    return SLOWEST * seconds


def wait_until(condition: Callable[[], Any], seconds: float, what: str | Callable[[], str]) -> Any:
    """Wait for a true answer and return it; fail after so many seconds, or as many as a slow machine takes for them.

    `what` was waited for; a function says it as things stand in the end.
    """
    deadline = time.monotonic() + patient(seconds)
    while not (answer := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {patient(seconds):.0f} s: {what if isinstance(what, str) else what()}")
        time.sleep(LOOK_SECONDS)
    return answer
