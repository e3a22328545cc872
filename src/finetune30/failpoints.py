"""Fail points: named places where a test lets this process die, its disk run full or its memory run out.

Off unless FT30_FAILPOINT is set, as `name:n` or `name:n:action`, several separated by commas: when the point `name` is
reached the n-th time (counted from 1), the action happens. `n+` means the n-th time and every one after it.

    kill    the process kills itself with SIGKILL (the default)
    enospc  OSError "No space left on device" is raised
    raise   the error that the point itself offers is raised
    wait    the process waits for so many seconds: `wait5`

FT30_FAILPOINT_TRACE names a file to which every name is appended as it is reached, so that a test can list all points.
"""

from __future__ import annotations

import errno
import os
import signal
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

POINTS_VARIABLE = "FT30_FAILPOINT"
TRACE_VARIABLE = "FT30_FAILPOINT_TRACE"

#: What every function that writes a file reaches right before it does.
DISK_WRITE = "disk.write"


@dataclass(frozen=True)
class _Plan:
    count: int
    and_after: bool
    action: str


def reach(name: str, failure: Callable[[], BaseException] | None = None) -> None:
    """Do what FT30_FAILPOINT says for this place: usually nothing.

    `failure` makes the error of the action "raise".
    """
    plans, trace = _setup()
    if trace is not None:
        with trace.open("a", encoding="utf-8") as file:
            file.write(name + "\n")
    if name not in plans:
        return
    plan = plans[name]
    _reached()[name] += 1
    times = _reached()[name]
    if times == plan.count or (plan.and_after and times > plan.count):
        _act(plan.action, name, failure)


@cache
def _setup() -> tuple[dict[str, _Plan], Path | None]:
    plans = {}
    for entry in filter(None, os.environ.get(POINTS_VARIABLE, "").split(",")):
        name, count, action = [*entry.split(":"), "kill"][:3]
        plans[name] = _Plan(int(count.rstrip("+")), count.endswith("+"), action)
    trace = os.environ.get(TRACE_VARIABLE)
    return plans, Path(trace) if trace else None


@cache
def _reached() -> Counter[str]:
    return Counter()


def _act(action: str, name: str, failure: Callable[[], BaseException] | None) -> None:
    if action == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if action == "enospc":
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), name)
    if action == "raise" and failure is not None:
        raise failure()
    if action.startswith("wait"):
        time.sleep(float(action.removeprefix("wait")))
        return
    raise ValueError(f"fail point {name} knows no action {action!r}")
