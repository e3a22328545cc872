"""Hosts on one machine: each with its own network, name, processes and mounts, on a cable to a switch.

A cable can be pulled, and a host loses power: everything on it dies at once, and nobody is told. Names do not resolve.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import psutil
import pytest

_TOOLS = ("ip", "mount", "nsenter", "setpriv", "unshare")
#: What a machine says that does not let us make namespaces or cables; anything else is a fault of the lab.
_DENIALS = ("Operation not permitted", "Permission denied", "not supported", "Unknown device type")
#: The host's first process: it ignores the ends of children, so that none whose parent was killed stays as a zombie.
_FIRST_PROCESS = """
set -e
hostname "$1"
if [ "$#" -eq 3 ]; then mount --bind "$2" "$3"; fi
echo up
exec env --ignore-signal=CHLD sleep infinity >/dev/null
"""
#: The last number of the address that this machine itself has beside its hosts, as one of the users' computers.
_OUTSIDE = 254


class Host:
    """One host. `shared` is a folder outside and the place where the host sees it, as a network folder is mounted."""

    def __init__(self, network: Network, letter: str, number: int, shared: tuple[Path, Path] | None) -> None:
        self.name = f"host-{letter}.lab"
        self.address = f"{network.prefix}.{number}"
        self._card = f"02:00:00:00:00:{number:02x}"
        self._network, self._cable, self._shared = network, f"cable-{letter}", shared
        self._space = f"{network.mark}{letter}"
        self._first: psutil.Process | None = None

    @property
    def is_up(self) -> bool:
        """Whether it has power."""
        return self._first is not None

    def power_on(self) -> None:
        """Bring it up with nothing on it; raises CalledProcessError where that is not allowed."""
        switch = self._network.switch
        _run("ip", "netns", "add", self._space)
        self._network.lay_cable(self._cable, "eth0", "netns", self._space)
        _run("ip", "-n", self._space, "link", "set", "eth0", "address", self._card)  # the same after a loss of power
        _run("ip", "-n", self._space, "addr", "add", f"{self.address}/24", "dev", "eth0")
        for device in ("lo", "eth0"):
            _run("ip", "-n", self._space, "link", "set", device, "up")
        _run("ip", "-n", switch, "link", "set", self._cable, "up")
        words = [f"--net=/run/netns/{self._space}", "unshare", "--uts", "--pid", "--mount", "--fork", "--mount-proc"]
        words += ["--kill-child", "sh", "-c", _FIRST_PROCESS, "sh", self.name, *map(str, self._shared or ())]
        words = ["setpriv", "--pdeathsig", "KILL", "nsenter", *words]  # no host outlives the test
        starter = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert starter.stdout is not None
        if starter.stdout.readline() != "up\n":
            _, said = starter.communicate()
            raise subprocess.CalledProcessError(starter.returncode, words, stderr=said)
        self._starter = starter
        (self._first,) = psutil.Process(starter.pid).children()

    def power_off(self) -> None:
        """Take it away within a moment: its connections stay open for the others, as nobody closes them."""
        if self._first is None:
            return
        self.pull_cable()
        with suppress(psutil.NoSuchProcess):
            self._first.kill()
        self._first = None
        self._starter.communicate()
        _run("ip", "-n", self._network.switch, "link", "del", self._cable)
        _run("ip", "netns", "del", self._space)

    def pull_cable(self) -> None:
        """Cut it off; what it sends and what is sent to it is lost."""
        _run("ip", "-n", self._space, "link", "set", "eth0", "down")

    def plug_in(self) -> None:
        """Put the cable back."""
        _run("ip", "-n", self._space, "link", "set", "eth0", "up")

    def start(
        self,
        *command: str,
        folder: Path,
        output: IO[Any] | int | None = None,
        environment: dict[str, str] | None = None,
        user: str | None = None,
    ) -> subprocess.Popen[str]:
        """Begin a command in a folder of the host. Killing what is returned kills it."""
        assert self._first is not None, f"{self.name} has no power"
        words = ["nsenter", "--target", str(self._first.pid), "--net", "--uts", "--pid", "--mount", "--"]
        as_user = [f"--reuid={user}", f"--regid={user}", "--clear-groups"] if user else []
        words += ["setpriv", *as_user, "--pdeathsig", "KILL", "--", "sh", "-c", 'cd "$1"; shift; exec "$@"', "sh"]
        errors = subprocess.PIPE if output == subprocess.PIPE else subprocess.STDOUT
        return subprocess.Popen(
            [*words, str(folder), *command],
            env={**os.environ, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=errors,
            text=True,
        )


class Network:
    """A switch, the hosts on it, and an address of this machine beside theirs."""

    def __init__(self) -> None:
        self.mark = f"ft30{os.getpid() % 100_000}{random.SystemRandom().choice('ghijklmnopqrstuvwxyz')}"
        self.switch = f"{self.mark}0"
        self.prefix = _free_prefix()
        self.hosts: dict[str, Host] = {}

    def build(self) -> None:
        """Make the switch and the own cable to it; raises CalledProcessError where that is not allowed."""
        _run("ip", "netns", "add", self.switch)
        _run("ip", "-n", self.switch, "link", "add", "bridge", "type", "bridge")
        _run("ip", "-n", self.switch, "link", "set", "bridge", "up")
        own = f"{self.mark}x"
        self.lay_cable("outside", own)
        _run("ip", "-n", self.switch, "link", "set", "outside", "up")
        _run("ip", "addr", "add", f"{self.prefix}.{_OUTSIDE}/24", "dev", own)
        _run("ip", "link", "set", own, "up")

    def add_host(self, letter: str, shared: tuple[Path, Path] | None = None) -> Host:
        """Add a host and give it power."""
        host = self.hosts[letter] = Host(self, letter, len(self.hosts) + 1, shared)
        host.power_on()
        return host

    def lay_cable(self, port: str, device: str, *place: str) -> None:
        """Lay a cable from a port of the switch to a device, here or in another place."""
        _run("ip", "link", "add", port, "netns", self.switch, "type", "veth", "peer", "name", device, *place)
        _run("ip", "-n", self.switch, "link", "set", port, "master", "bridge")

    def remove(self) -> None:
        """Take all of it away."""
        for host in self.hosts.values():
            host.power_off()
        subprocess.run(["ip", "netns", "del", self.switch], capture_output=True, check=False)


def kill_family(process: subprocess.Popen[str]) -> None:
    """Kill a command with all that it started, and wait for the end of all."""
    with suppress(psutil.NoSuchProcess):
        family = psutil.Process(process.pid).children(recursive=True)
        for member in family:
            with suppress(psutil.NoSuchProcess):
                member.kill()
        psutil.wait_procs(family, timeout=10)
    process.kill()
    process.wait()


@contextmanager
def network_of_hosts(letters: Sequence[str] = (), shared: tuple[Path, Path] | None = None) -> Iterator[Network]:
    """Give a network with these hosts, or skip the test where this machine does not let us make any."""
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("network namespaces need root")
    if missing := [tool for tool in _TOOLS if shutil.which(tool) is None]:
        pytest.skip(f"network namespaces need {', '.join(missing)}")
    network = Network()
    try:
        try:
            network.build()
            for letter in letters:
                network.add_host(letter, shared)
        except subprocess.CalledProcessError as error:
            said = (error.stderr or "").strip()
            if not any(denial in said for denial in _DENIALS):
                raise AssertionError(f"{' '.join(map(str, error.cmd))}: {said}") from error
            pytest.skip(f"no network namespaces here: {said}")
        yield network
    finally:
        network.remove()


def _free_prefix() -> str:
    """Return the first three numbers of a network that this machine has no address in."""
    used = subprocess.run(["ip", "-4", "-o", "addr"], capture_output=True, text=True, check=True).stdout
    choices = [f"10.77.{number}" for number in range(1, 255) if f" 10.77.{number}." not in used]
    return random.SystemRandom().choice(choices)


def _run(*command: str) -> None:
    subprocess.run(command, capture_output=True, text=True, check=True)
