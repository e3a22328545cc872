"""The processes that a command or an attempt started for one training, found by the process that started them."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from functools import partial

import psutil

from support.patience import wait_until


def wait_for_members(starter: int, count: int) -> dict[int, int]:
    """Return rank -> process id of the processes that `starter` started, once so many are there."""
    return dict(wait_until(lambda: found if len(found := find_members(starter)) == count else None, 60, "members"))


def find_members(starter: int) -> dict[int, int]:
    """Return rank -> process id of the processes that `starter` started so far."""
    found: dict[int, int] = {}
    with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
        for child in psutil.Process(starter).children():
            if "member" in child.cmdline():
                found[int(child.environ()["RANK"])] = child.pid
    return found


def wait_until_gone(pids: Iterable[int]) -> None:
    """Wait until none of these processes lives."""
    for pid in pids:
        wait_until(partial(_is_gone, pid), 10, f"process {pid} is gone")


def _is_gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
