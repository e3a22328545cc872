"""A client of the API as a careful program is one: a key for each run, and the same request until it is answered."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable
from typing import Any, Self

import httpx

PAUSE_SECONDS = 0.1


class UnansweredError(AssertionError):
    """A submission was refused, or never answered."""


class PatientClient:
    """Submits drills over HTTP; `tries` counts what became of every single request. One thread, one client."""

    def __init__(self, address: str, api_key: str | None = None, timeout: float = 15) -> None:
        access = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._http = httpx.Client(base_url=address, timeout=timeout, headers=access)
        self.tries: Counter[str] = Counter()
        self.requests: Counter[str] = Counter()  # by key
        self.slowest_answer = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def submit(self, key: str, name: str = "drill", steps: int = 3, patience_seconds: float = 180) -> str:
        """Return the task id of a drill under this Idempotency-Key, however often the API dies meanwhile."""
        return self.submit_config(key, name, {"training": {"max_steps": steps}}, patience_seconds)

    def submit_config(self, key: str, name: str, config: dict[str, Any], patience_seconds: float = 180) -> str:
        """Return the task id of a run with this configuration, as `submit` does."""
        body = {"experiment_name": name, "config": config}
        return str(self._post(key, "/train", body, {"Idempotency-Key": key}, patience_seconds)["task_id"])

    def start_search(self, body: dict[str, Any], patience_seconds: float = 600) -> str:
        """Return the id of the search that a body of POST /searches makes; the same body is the same search."""
        return str(self._post("search", "/searches", body, {}, patience_seconds)["id"])

    def _post(
        self, key: str, path: str, body: dict[str, Any], headers: dict[str, str], patience_seconds: float
    ) -> dict[str, Any]:
        """Send the same request until it is accepted."""
        deadline = time.monotonic() + patience_seconds
        while True:
            started = time.monotonic()
            self.requests[key] += 1
            try:
                answer = self._http.post(path, json=body, headers=headers)
            except httpx.TransportError as error:
                self.tries[f"no answer: {type(error).__name__}"] += 1
            else:
                self.tries[str(answer.status_code)] += 1
                if answer.status_code == 202:
                    self.slowest_answer = max(self.slowest_answer, time.monotonic() - started)
                    accepted: dict[str, Any] = answer.json()
                    return accepted
                if answer.status_code < 500:
                    raise UnansweredError(f"{answer.status_code} for {key}: {answer.text}")
            if time.monotonic() > deadline:
                raise UnansweredError(f"no answer for {key} within {patience_seconds:.0f} s: {self.tries}")
            time.sleep(PAUSE_SECONDS)


def total_tries(clients: Iterable[PatientClient]) -> Counter[str]:
    """Add up what became of all requests."""
    total: Counter[str] = Counter()
    for client in clients:
        total.update(client.tries)
    return total
