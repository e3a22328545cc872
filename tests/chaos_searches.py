"""The same search on 1, 2 and 4 workers while everything around it is killed: its trials have to be the same.

    make chaos-searches ARGS="--trials 40 --workers 1 2 4"        python tests/chaos_searches.py --trials 12 --workers 2

One search a series, handed in over HTTP, with trials that pause at rungs and an end with repeats, among drill runs of
others. What `tests/chaos.py` does to runs is done here too (kill -9 of API, worker, attempt and Redis, pauses past the
lease, lost messages), also at every point between two rows of a search. What has to come out is computed without any
queue, one trial after the other; an independent checker reads the event log. Exit code 1 for any breach.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from chaos import FAIL_POINTS, Chaos
from finetune30.store import Run
from finetune30.store.searches import SearchStatus, load_search
from support.drill import drill_variables
from support.event_checker import check, load_recorded
from support.patient_client import PatientClient, UnansweredError, total_tries
from support.search_series import Series, body_of, expect_trials, find_differences, load_series, runs_of_search
from support.services import Services, running_services

_STEP_SECONDS = 0.02
SEARCH_POINTS = tuple(
    f"search.{point}"
    for point in (
        *("before_result", "before_trial", "after_trial", "after_run", "before_decision", "after_decision"),
        *("before_promotion", "after_promotion", "after_stop", "before_end", "after_end", "before_verdict"),
        "after_verdict",
    )
)
#: From here on a run is spared: at the next lost attempt but one it fails for good, and its trial with it.
_MOST_LOST = 2
#: Long enough that attempts lose no lease to a busy machine: what is tried is to hang on kills as little as on luck.
_LEASE_SECONDS = 10.0
#: So often the API is killed before it has accepted the search, which takes it some seconds.
_MOST_BEFORE_ACCEPTED = 3


class SearchChaos(Chaos):
    """A search among drills of others."""

    fail_points = (*FAIL_POINTS, *SEARCH_POINTS, "pause.before_row", "pause.after_row")
    fail_point_seconds = 30.0
    api_fail_points = (
        *("search.before_row", "search.after_row", "search.after_trial", "search.after_run"),
        *("submit.after_row", "submit.after_message"),
    )

    def __init__(self, services: Services, body: dict[str, Any], jobs: int, workers: int, seed: int) -> None:
        super().__init__(services, jobs, workers, seed, None)
        self.body = body
        self.search_id = ""
        self.refused: UnansweredError | None = None
        self.spared = 0
        self._armed: list[subprocess.Popen[bytes]] = []  # workers all of whose attempts die at a fail point
        self.clients.append(PatientClient(services.api_address, timeout=120))  # rows are frozen meanwhile

    def start_worker(self, name: str, **environment: Any) -> None:
        drilled: dict[str, Any] = drill_variables(_STEP_SECONDS, scored=True)
        self.services.start_worker(name, drill=None, **drilled, **environment)
        if "FT30_FAILPOINT" in environment:
            self._armed.append(self.services.workers[name])

    def goes_on(self) -> bool:
        if self.refused is not None:
            raise self.refused
        return not self.search_id or self._open_runs() > 0 or not self.is_over()

    def is_over(self) -> bool:
        """Whether the trials have ended and all is said of the best."""
        status = load_search(self.services.store, self.search_id).status
        if status in (SearchStatus.FAILED, SearchStatus.STOPPED):
            return True
        return status is SearchStatus.SUCCEEDED and load_series(self.services.store, self.search_id).verdict is not None

    def may_strike(self) -> bool:
        """Spare a trial that has lost its attempts: that it fails then is so, but no kill may decide what is tried."""
        is_near = self._is_near()
        self.spared += is_near
        return not is_near

    def _is_near(self) -> bool:
        runs = runs_of_search(self.services.store, self.search_id) if self.search_id else []
        return any(run.failures >= _MOST_LOST - 1 and not run.status.is_final for run in runs)

    def _keep_up(self) -> None:
        if self._armed and self._is_near():
            for worker in self._armed:
                worker.terminate()  # it would lose the same run again and again
            self._armed.clear()
        super()._keep_up()

    def _do(self, what: str, name: str) -> None:
        killed = sum(count for one, count in self.done.items() if one.startswith("API"))
        if what.startswith("API") and not self.search_id and killed >= _MOST_BEFORE_ACCEPTED:
            raise ProcessLookupError("freezing the rows takes longer than this API would live")
        super()._do(what, name)

    def list_failed(self) -> list[Run]:
        return [run for run in super().list_failed() if "sought-trial" not in run.name or "-seed" in run.name]

    def _submit(self, number: int) -> None:
        if number == 0:
            try:
                with self.clients[-1] as client:
                    self.search_id = client.start_search(self.body)
            except UnansweredError as error:
                self.refused = error
        super()._submit(number)


def carry_out(folder: Path, trials: int, jobs: int, workers: int, seed: int, pause: tuple[float, float]) -> Series:
    """Carry one series out, print what happened, and return what came of the search, with every breach."""
    started = time.monotonic()
    with running_services(folder, lease_seconds=_LEASE_SECONDS) as services:
        chaos = SearchChaos(services, body_of(trials), jobs, workers, seed)
        chaos.run(pause, 1e6)
        seconds = time.monotonic() - started
        for name in list(services.workers):
            services.kill_worker(name)
        services.kill_api()
        store, url = services.store, services.settings.resolved_database_url
        found = load_series(store, chaos.search_id)
        its_runs = [run.id for run in runs_of_search(store, chaos.search_id)]
        told = check(url, services.settings.results_folder, [*chaos.accepted, *its_runs])
        found.breaches += told.breaches
        stray = load_recorded(url) - {*chaos.accepted, *its_runs}
        found.breaches += [f"run {one} is recorded, but belongs to nobody" for one in sorted(stray)]
        found.breaches += [f"{key} gave two runs" for key in chaos.broken_keys]
    print(f"{workers} workers, seed {seed}, {seconds:.0f} s, spared {chaos.spared} times: {found.summary()}")
    print("  requests:", ", ".join(f"{count} {what}" for what, count in total_tries(chaos.clients).most_common()))
    print("  misfortunes:", ", ".join(f"{count} {what}" for what, count in chaos.done.most_common()))
    print(f"  {told.summary()}", flush=True)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4], help="one series for each number")
    parser.add_argument("--jobs", type=int, default=60, help="drill runs of others in the same queue")
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--every", type=float, nargs=2, default=(2.0, 10.0), metavar=("LEAST", "MOST"))
    options = parser.parse_args()
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(1 << 31)
    print(f"seed {seed}: {options.trials} trials, {options.jobs} runs of others", flush=True)
    expected, breaches = expect_trials(options.trials), list[str]()
    series = []
    for workers in options.workers:
        with tempfile.TemporaryDirectory(prefix="ft30-chaos-searches-", ignore_cleanup_errors=True) as folder:
            found = carry_out(Path(folder), options.trials, options.jobs, workers, seed, tuple(options.every))
        series.append(found)
        differ = find_differences(expected, found.trials)
        breaches += [f"{workers} workers: {one}" for one in (*found.breaches, *differ)]
    breaches += [] if all(one.verdict == series[0].verdict for one in series) else ["the verdicts differ"]
    for breach in breaches:
        print("BREACH", breach)
    return bool(breaches)


if __name__ == "__main__":
    sys.exit(main())
