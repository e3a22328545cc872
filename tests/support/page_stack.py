"""The services of the README with the page, each in a process of its own."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

from support.patience import wait_until
from support.services import Services, free_port


class Stack:
    """The services of the README, each in a process of its own."""

    def __init__(self, folder: Path, **variables: Any) -> None:
        """`variables` are for the environment of worker, API and page."""
        self.folder, self._variables = folder, variables
        # The lease of a real installation: beside a browser on a busy machine, attempts lose one of three seconds.
        self.services = Services(folder, ui_port=free_port(), disk_reserve_bytes=0, lease_seconds=60)
        self.api_url = f"http://127.0.0.1:{self.services.settings.api_port}"
        self.page_url = f"http://127.0.0.1:{self.services.settings.ui_port}"
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self) -> None:
        self.services.start_redis()
        self.services.start_worker(drill=None, **self._variables)
        self.start_page()
        self.services.wait_for_worker()

    def start_page(self) -> None:
        """Start API and page alone: enough where nothing is trained."""
        self.start_command("api")
        self.start_command("ui")
        wait_until(lambda: self._answers(self.api_url + "/healthz"), 120, "the API answers")
        wait_until(lambda: self._answers(self.page_url + "/_stcore/health"), 120, "the page answers")

    def start_command(self, name: str, **environment: str) -> None:
        known = "-".join([name, *environment.values()])
        with (self.folder / f"{name}.log").open("ab") as log:
            self._processes[known] = subprocess.Popen(
                [sys.executable, "-m", "finetune30", name],
                stdout=log,
                stderr=log,
                env=self.services.environment(**self._variables, **environment),
                cwd=self.folder,
            )

    def start_locked(self, key: str) -> str:
        """Start a second API that asks for a key, and its page; return the page's address."""
        api, ui = free_port(), free_port()
        ports = {"FT30_API_PORT": str(api), "FT30_UI_PORT": str(ui)}
        self.start_command("api", **ports, FT30_API_KEYS=key)
        self.start_command("ui", **ports)
        wait_until(lambda: self._answers(f"http://127.0.0.1:{api}/healthz"), 120, "the API with keys answers")
        wait_until(lambda: self._answers(f"http://127.0.0.1:{ui}/_stcore/health"), 120, "its page answers")
        return f"http://127.0.0.1:{ui}"

    def kill(self, name: str) -> None:
        process = self._processes.pop(name)
        process.kill()
        process.wait()

    @contextlib.contextmanager
    def paused(self, name: str) -> Iterator[None]:
        """Leave a service without an answer for a while, as a machine does that is busy elsewhere."""
        process = self._processes[name]
        process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            process.send_signal(signal.SIGCONT)

    def submit(self, name: str, **body: Any) -> str:
        answer = httpx.post(
            self.api_url + "/train", json={"experiment_name": name, "preset": "quick_cpu", **body}, timeout=600
        )
        assert answer.status_code == 202, answer.text
        return str(answer.json()["task_id"])

    def close(self) -> None:
        for name in list(self._processes):
            self.kill(name)
        self.services.close()

    @staticmethod
    def _answers(url: str) -> bool:
        try:
            return httpx.get(url, timeout=2).status_code == 200
        except httpx.HTTPError:
            return False
