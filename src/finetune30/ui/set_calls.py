"""What the page asks the API about sets of runs, searches and test rows."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from finetune30.ui.model_calls import path_part

Json = dict[str, Any]


class SetCalls(ABC):
    """The part of the client that knows runs which belong together, and looks at the rows kept for a test."""

    @abstractmethod
    def _json(self, method: str, path: str, **options: Any) -> Json:
        """Ask the API and return its JSON."""

    def list_run_sets(self) -> list[Json]:
        """Return the newest sets of runs, without the scores of their runs."""
        found: list[Json] = self._json("GET", "/run-sets")["items"]
        return found

    def load_run_set(self, set_id: str) -> Json:
        """Return a set with its runs, and what those that have finished say together."""
        return self._json("GET", f"/run-sets/{path_part(set_id)}")

    def list_searches(self) -> list[Json]:
        """Return the newest searches, without their trials."""
        found: list[Json] = self._json("GET", "/searches")["items"]
        return found

    def load_search(self, search_id: str) -> Json:
        """Return a search with its trials and the best of them."""
        return self._json("GET", f"/searches/{path_part(search_id)}")

    def load_search_luck(self, search_id: str) -> Json:
        """Return how far the best trial may lead trial 0 by luck: `default`, `noise`, `band`, `reason`."""
        return self._json("GET", f"/searches/{path_part(search_id)}/luck")

    def stop_search(self, search_id: str, *, now: bool) -> Json:
        """Have nothing more suggested; with `now` trials that wait or train are cancelled, too."""
        return self._json("POST", f"/searches/{path_part(search_id)}/stop", json={"now": now})

    def resume_search(self, search_id: str, more: Json) -> Json:
        """Let a search go on; `more`: trials, hours, disk_gb in all, where these change."""
        return self._json("POST", f"/searches/{path_part(search_id)}/resume", json=more)

    def test_search(self, search_id: str) -> Json:
        """Begin to judge the repeats of a search on its test rows; from now on the look counts."""
        return self._json("POST", f"/searches/{path_part(search_id)}/test")

    def open_test_rows(self, run_id: str, against: str | None = None) -> Json:
        """Begin to evaluate a finished run on the rows that are kept for its test; from now on the look counts.

        With `against` another run, too, and which of both is better by more than chance.
        """
        asked = {} if against is None else {"params": {"against": against}}
        return self._json("POST", f"/experiments/{path_part(run_id)}/test", **asked)

    def load_test_looks(self, run_id: str) -> Json:
        """Return the `state` of the look under way, why the last one failed, and every look so far."""
        return self._json("GET", f"/experiments/{path_part(run_id)}/test")
