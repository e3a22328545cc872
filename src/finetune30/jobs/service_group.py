"""Several services under one supervisor: started in order, restarted with back-off when they die, stopped together."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import FrameType
from typing import IO

_FIRST_BACK_OFF_SECONDS = 1.0
_LONGEST_BACK_OFF_SECONDS = 30.0
#: A service that lived so long starts again without waiting.
_HEALTHY_SECONDS = 30.0
_POLL_SECONDS = 0.2

Say = Callable[[str], None]


@dataclass
class Service:
    """A foreground command with a name; `stop_seconds` is how long it may take to stop.

    Lines that hold one of the `untold` texts are not shown.
    """

    name: str
    command: Sequence[str]
    stop_seconds: float = 10.0
    untold: Sequence[str] = ()
    process: subprocess.Popen[bytes] | None = field(default=None, init=False)
    started_at: float = field(default=0.0, init=False)
    start_again_at: float = field(default=0.0, init=False)
    back_off: float = field(default=0.0, init=False)
    restarts: int = field(default=0, init=False)


class ServiceGroup:
    """Runs services until a signal comes. Their lines appear with their names in front."""

    def __init__(self, services: Sequence[Service], say: Say) -> None:
        self._services, self._say = services, say
        self._stopping = False

    def run(self, started: Callable[[], None] | None = None) -> None:
        """Start all, keep them running, and return after Ctrl-C or SIGTERM when all have stopped.

        `started` is called once, after the first start of all.
        """
        before = {number: signal.signal(number, self._ask_to_stop) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            for service in self._services:
                self._start(service)
            if started:
                started()
            while not self._stopping:
                for service in self._services:
                    self._look_after(service)
                time.sleep(_POLL_SECONDS)
        finally:
            self._stop_all()
            for number, handler in before.items():
                signal.signal(number, handler)

    def _ask_to_stop(self, number: int, frame: FrameType | None) -> None:
        self._stopping = True

    def _start(self, service: Service) -> None:
        # A group of its own: Ctrl-C reaches the supervisor alone, which stops the services in order.
        service.process = subprocess.Popen(
            service.command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
        service.started_at = time.monotonic()
        assert service.process.stdout is not None  # noqa: S101 - asked for above
        threading.Thread(target=self._relay, args=(service, service.process.stdout), daemon=True).start()

    def _relay(self, service: Service, lines: IO[bytes]) -> None:
        for raw in lines:
            line = raw.decode(errors="replace").rstrip()
            if not any(text in line for text in service.untold):
                self._say(f"{service.name:<6} | {line}")

    def _look_after(self, service: Service) -> None:
        now = time.monotonic()
        if service.process is None:
            if now >= service.start_again_at and not self._stopping:
                service.restarts += 1
                self._start(service)
            return
        if service.process.poll() is None:
            return
        healthy = now - service.started_at > _HEALTHY_SECONDS
        service.back_off = (
            _FIRST_BACK_OFF_SECONDS if healthy else min(max(service.back_off * 2, 1.0), _LONGEST_BACK_OFF_SECONDS)
        )
        service.start_again_at = now + service.back_off
        how = _describe_exit(service.process.returncode)
        self._say(f"{service.name} {how}; starting it again in {service.back_off:.0f} s")
        service.process = None

    def _stop_all(self) -> None:
        """Stop the last one started first: what others need goes last."""
        for service in reversed(self._services):
            process = service.process
            if process is None or process.poll() is not None:
                continue
            self._say(f"stopping {service.name}")
            process.terminate()
            try:
                process.wait(service.stop_seconds)
            except subprocess.TimeoutExpired:
                self._say(f"{service.name} did not stop within {service.stop_seconds:.0f} s: killed")
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def ft30_command(*arguments: str) -> list[str]:
    """Return the command line of `ft30` with these arguments in this very environment."""
    return [sys.executable, "-m", "finetune30", *arguments]


def _describe_exit(code: int) -> str:
    return f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
