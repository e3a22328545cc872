"""Two hosts on one machine: network namespaces joined by a cable that can be pulled, with names that do not resolve."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

_TOOLS = ("ip", "nsenter", "unshare")
#: What a machine says that does not let us make namespaces or cables; anything else is a fault of the lab.
_DENIALS = ("Operation not permitted", "Permission denied", "not supported", "Unknown device type")


class TwoHosts:
    """`a` (10.77.0.1) and `b` (10.77.0.2); processes of one see nothing of the other but its address."""

    address = "10.77.0.1"

    def __init__(self, mark: str) -> None:
        self.names = {side: f"ft30{mark}{side}" for side in "ab"}
        self.ends = {side: f"f{mark}{side}" for side in "ab"}

    def build(self) -> None:
        """Make both and join them; raises CalledProcessError where that is not allowed."""
        for side in "ab":
            _run("ip", "netns", "add", self.names[side])
        _run("ip", "link", "add", self.ends["a"], "type", "veth", "peer", "name", self.ends["b"])
        for side, number in (("a", 1), ("b", 2)):
            _run("ip", "link", "set", self.ends[side], "netns", self.names[side])
            _run("ip", "-n", self.names[side], "addr", "add", f"10.77.0.{number}/24", "dev", self.ends[side])
            _run("ip", "-n", self.names[side], "link", "set", "lo", "up")
            self.set_link(side, "up")

    def remove(self) -> None:
        """Take both away, and the cable with them."""
        for name in self.names.values():
            subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)

    def set_link(self, side: str, state: str) -> None:
        """Plug a host's cable in (`up`) or pull it (`down`)."""
        _run("ip", "-n", self.names[side], "link", "set", self.ends[side], state)

    def start(self, side: str, folder: Path, *arguments: str, **variables: str) -> subprocess.Popen[str]:
        """Begin `ft30 ARGUMENTS` on a host that is called host-a.lab or host-b.lab."""
        command = [sys.executable, "-m", "finetune30", *arguments]
        named = ["unshare", "--uts", "sh", "-c", f'hostname host-{side}.lab; exec "$@"', "--", *command]
        return subprocess.Popen(
            ["nsenter", f"--net=/run/netns/{self.names[side]}", *named],
            cwd=folder,
            env={**os.environ, **variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )


@contextmanager
def two_hosts() -> Iterator[TwoHosts]:
    """Give two hosts, or skip the test where this machine does not let us make any."""
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("network namespaces need root")
    if missing := [tool for tool in _TOOLS if shutil.which(tool) is None]:
        pytest.skip(f"network namespaces need {', '.join(missing)}")
    hosts = TwoHosts(f"{os.getpid() % 100_000}")
    try:
        try:
            hosts.build()
        except subprocess.CalledProcessError as error:
            if not any(denial in error.stderr for denial in _DENIALS):
                raise AssertionError(f"{' '.join(error.cmd)}: {error.stderr.strip()}") from error
            pytest.skip(f"no network namespaces here: {error.stderr.strip()}")
        yield hosts
    finally:
        hosts.remove()


def _run(*command: str) -> None:
    subprocess.run(command, capture_output=True, text=True, check=True)
