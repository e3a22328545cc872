"""Follow without a task: which run is followed."""

from __future__ import annotations

from typing import Any

import pytest

from finetune30.ui.views import last_runs

Json = dict[str, Any]


class Listing:
    """The API's listing over some runs, the newest first."""

    def __init__(self, runs: list[Json]) -> None:
        self.runs = runs

    def find_experiments(self, status: list[str], limit: int) -> tuple[list[Json], None]:
        return [run for run in self.runs if run["status"] in status][:limit], None


def test_a_run_that_runs_comes_before_any_number_that_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    waiting = [{"id": f"w{number}", "status": "QUEUED"} for number in range(last_runs.OFFERED + 5)]
    listing = Listing([*waiting, {"id": "r", "status": "RUNNING"}])
    monkeypatch.setattr(last_runs, "client", lambda: listing)
    current = last_runs._load_current()
    assert [run["id"] for run in current[:2]] == ["r", "w0"]
    assert len(current) == last_runs.OFFERED
