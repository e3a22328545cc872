"""Who holds a lease: a process named so that its death is seen at once on the same machine.

An owner reads "<host>:<boot id>:<pid>:<process start time>". Boot id and start time make a reused process id or a
rebooted machine look like what it is: another process. On Linux the boot id carries the pid namespace too, so that two
containers under one host name never judge each other's processes.
"""

from __future__ import annotations

import os
import socket
import sys
from functools import cache
from pathlib import Path


def own_identity() -> str:
    """Return the owner string of this process."""
    return identity_of(os.getpid())


def identity_of(pid: int) -> str:
    """Return the owner string of a living process of this host; ProcessLookupError when there is none."""
    started = _start_time(pid)
    if started is None:
        raise ProcessLookupError(pid)
    return f"{host_prefix()}{pid}:{started}"


def is_dead(owner: str) -> bool | None:
    """Tell whether the owner's process is gone: True or False for this host, None when this host cannot know."""
    host, _, rest = owner.partition(":")
    parts = rest.split(":")
    if host != _host_name() or len(parts) != 3 or not parts[1].isdigit():
        return None
    boot, pid, started = parts
    if boot != _boot_id():
        return None  # after a restart, or another machine of that name: only the lease can tell
    return _start_time(int(pid)) != started


def describe_owner(owner: str) -> str:
    """Return an owner string in words: `process 4711 on host`; anything else, such as a test's name, as it is."""
    parts = owner.split(":")
    return f"process {parts[2]} on {parts[0]}" if len(parts) == 4 else owner


@cache
def host_prefix() -> str:
    """Return the part of an owner string that all processes of this host and boot share."""
    return f"{_host_name()}:{_boot_id()}:"


@cache
def _host_name() -> str:
    return socket.gethostname().replace(":", "_")


@cache
def _boot_id() -> str:
    if sys.platform == "linux":
        namespace = Path("/proc/self/ns/pid").stat().st_ino
        return f"{Path('/proc/sys/kernel/random/boot_id').read_text().strip()}.{namespace}"
    import psutil

    return str(round(psutil.boot_time()))


def _start_time(pid: int) -> str | None:
    """Return the start time in the platform's own unit, None for a process that is gone or a zombie."""
    if sys.platform == "linux":
        try:
            stat = Path(f"/proc/{pid}/stat").read_text()
        except (FileNotFoundError, ProcessLookupError):
            return None
        fields = stat.rpartition(")")[2].split()  # the name may hold spaces and brackets
        return None if fields[0] in ("Z", "X") else fields[19]
    import psutil

    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else f"{process.create_time():.2f}"
    except psutil.NoSuchProcess:
        return None
