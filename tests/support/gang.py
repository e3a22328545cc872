"""Two processes on one training, as a launcher starts them: each told by the environment who it is."""

from __future__ import annotations

import json
import os
import signal
import socket
import sqlite3
from typing import Any

from support.exactness import Lab
from support.fork_server import Ended, ForkServer
from support.patience import wait_until
from support.talk_lab import TalkLab

_ROW = "SELECT id, status, error, attempt FROM runs ORDER BY created_at DESC, id LIMIT 1"


class Gang:
    """A lab whose commands run in two processes at once, rank 0 and rank 1, on this host."""

    def __init__(self, servers: tuple[ForkServer, ForkServer], lab: Lab | TalkLab) -> None:
        self.servers, self.lab = servers, lab
        self.pids: list[int] = []

    def start(
        self, *arguments: str, results: str, only: tuple[dict[str, str], dict[str, str]] = ({}, {}), **both: str
    ) -> None:
        """Begin a command in both; `only` holds the variables that one of them has."""
        port = str(_free_port())
        self.pids = []
        for rank, (server, own) in enumerate(zip(self.servers, only, strict=True)):
            variables = {
                "RANK": str(rank),
                "WORLD_SIZE": "2",
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": port,
                # Only process 0 looks at runs: the other one has no database.
                "FT30_RESULTS_FOLDER": results if rank == 0 else "nowhere",
                **both,
                **own,
            }
            self.pids.append(server.start(*arguments, cwd=self.lab.folder, **variables))

    def wait(self) -> tuple[Ended, Ended]:
        """Wait for the end of both."""
        first, second = (server.wait() for server in self.servers)
        return first, second

    def run(self, *arguments: str, results: str, **options: Any) -> tuple[Ended, Ended]:
        """Run a command in both to the end."""
        self.start(*arguments, results=results, **options)
        return self.wait()

    def wait_for_step(self, step: int, results: str) -> None:
        """Wait until the newest run has taken so many steps."""
        wait_until(lambda: self._steps(results) >= step, 60, f"step {step}")

    def wait_for_checkpoint(self, after: int, results: str) -> None:
        """Wait until the run there has a whole checkpoint of a later step than `after`."""
        wait_until(lambda: max(self.checkpoints(results), default=0) > after, 180, f"a checkpoint after step {after}")

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to both, as a launcher or a terminal does."""
        for pid in self.pids:
            os.kill(pid, number)

    def row(self, results: str) -> dict[str, Any]:
        """Return id, status, error and attempt of the newest run."""
        with sqlite3.connect(self.lab.folder / results / "experiments.db") as database:
            run_id, status, error, attempt = database.execute(_ROW).fetchone()
        return {"id": run_id, "status": status, "error": json.loads(error) if error else None, "attempt": attempt}

    def checkpoints(self, results: str) -> list[int]:
        """Return the steps of which the run there has whole checkpoints; none before it has a folder."""
        names = [path.name for path in self.lab.folder.glob(f"{results}/*/attempts/*/checkpoints/checkpoint-*")]
        return sorted(int(step) for name in names if (step := name.removeprefix("checkpoint-")).isdigit())

    def _steps(self, results: str) -> int:
        folder = self.lab.folder / results
        histories = sorted(folder.glob("*/attempts/*/history.jsonl")) if folder.is_dir() else []
        lines = histories[-1].read_text().splitlines() if histories else []
        return max([json.loads(line)["step"] for line in lines], default=0)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
