"""The real hub client in a process of its own, for it reads its settings at import; evaluates what a test sends."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from support.stand_in_hub import StandInHub


@dataclass(frozen=True)
class Outcome:
    """What an expression came to: a value, or an error's class name and message."""

    value: Any = None
    error: str = ""
    message: str = ""
    #: The seconds that the client wanted to wait between its tries, which nobody waited.
    waits: list[float] = field(default_factory=list)


class HubClient:
    """A child with huggingface_hub's names; each expression gets a cache of its own unless it names one."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        paths = os.pathsep.join([str(Path(__file__).resolve().parents[1]), environment.get("PYTHONPATH", "")])
        self._child = subprocess.Popen(
            [sys.executable, "-m", "support.hub_client"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**environment, "PYTHONPATH": paths},
        )

    def run(self, expression: str, **names: Any) -> Outcome:
        """Evaluate an expression with these names, beside those of huggingface_hub."""
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        self._child.stdin.write(json.dumps({"expression": expression, "names": names}).encode() + b"\n")
        self._child.stdin.flush()
        return Outcome(**json.loads(self._child.stdout.readline()))

    def close(self) -> None:
        """End the child."""
        self._child.communicate(timeout=600)


class Running(NamedTuple):
    """A hub that serves for a whole module, and a client that uses it, with a cache for one test."""

    hub: StandInHub
    client: HubClient
    cache: str

    def run(self, expression: str, **names: Any) -> Outcome:
        """Evaluate an expression in the client; `cache` is an empty folder for `cache_dir=`."""
        return self.client.run(expression, cache=self.cache, **names)

    def asked(self, action: str) -> list[tuple[str, str, int]]:
        """Return method, file and status of the requests of one kind."""
        return [
            (request.method, request.file, request.status) for request in self.hub.requests if request.action == action
        ]


def serve() -> None:
    """Evaluate every line of standard input."""
    import time

    import huggingface_hub

    waits: list[float] = []
    time.sleep = waits.append  # type: ignore[assignment]
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    sys.stdout = sys.stderr
    for line in sys.stdin:
        waits.clear()
        asked = json.loads(line)
        known = {name: getattr(huggingface_hub, name) for name in dir(huggingface_hub)}
        try:
            # Only what the tests themselves write is evaluated.
            outcome = Outcome(eval(asked["expression"], {**known, **asked["names"]}), waits=waits)  # noqa: S307
        except Exception as error:  # noqa: BLE001 - whatever the client raises is the answer
            outcome = Outcome(error=type(error).__name__, message=str(error), waits=waits)
        answers.write(json.dumps(vars(outcome), default=str) + "\n")
        answers.flush()


if __name__ == "__main__":
    serve()
