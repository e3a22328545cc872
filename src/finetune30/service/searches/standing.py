"""A search as it stands: its rows, the runs of its open trials, and what can be told from them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from finetune30.config import ExperimentConfig
from finetune30.config.loading import validate_tree
from finetune30.config.search import MOST_TRIALS, SearchConfig
from finetune30.config.search_loading import validate_search
from finetune30.service.searches.space import Space
from finetune30.service.searches.suggesting import Past, State, count_visible
from finetune30.store import Run, RunStore
from finetune30.store.search_rungs import Rung, load_rungs
from finetune30.store.searches import Search, Trial, TrialState, list_trials, load_search, runs_of_trials

_STATES: Mapping[TrialState, State] = {
    TrialState.OPEN: "open",
    TrialState.DONE: "done",
    TrialState.FAILED: "failed",
    TrialState.CANCELLED: "failed",
    TrialState.STOPPED: "stopped",
}


@dataclass(frozen=True)
class Standing:
    """A search with its trials, the runs of those that have one of their own by number, and what was decided of them.

    `rungs` are by number of the trial and place of the rung; none where nothing is stopped.
    """

    search: Search
    config: ExperimentConfig
    spec: SearchConfig
    space: Space
    trials: Sequence[Trial]
    runs: Mapping[int, Run]
    rungs: Mapping[tuple[int, int], Rung] = field(default_factory=dict)

    @property
    def open(self) -> list[Trial]:
        """Trials whose run has not ended for good."""
        return [trial for trial in self.trials if trial.state is TrialState.OPEN]

    @property
    def ended(self) -> int:
        """How many trials have ended before the first open one."""
        return next((trial.number for trial in self.trials if trial.state is TrialState.OPEN), len(self.trials))

    @property
    def planned(self) -> int:
        """How many trials there are to be; where only hours end the search, the most that there may be."""
        wanted = self.spec.trials or MOST_TRIALS
        if self.spec.sampler == "grid":
            return 1 + sum(1 for _ in islice(self.space.list_grid(), wanted - 1))
        return wanted

    @property
    def has_known_length(self) -> bool:
        """Whether the number of trials is told beforehand; if not only limits end the search."""
        return self.spec.trials is not None or self.spec.sampler == "grid"

    @property
    def may_suggest(self) -> bool:
        """Whether the trials that the next suggestion hangs on have ended, and there is to be one."""
        number = len(self.trials)
        return number < self.planned and self.ended >= min(count_visible(number, self.spec.window), number)

    @property
    def size_bytes(self) -> int:
        """What the folders of ended trials take."""
        return sum(trial.size_bytes or 0 for trial in self.trials)

    @property
    def best(self) -> Trial | None:
        """The best trial with a value, of equal ones the first; None where there is none."""
        done = [trial for trial in self.trials if trial.value is not None]
        sign = 1.0 if self.search.greater_is_better else -1.0
        return max(done, key=lambda trial: (sign * (trial.value or 0.0), -trial.number), default=None)

    def past(self, number: int) -> list[Past]:
        """Return the trials before one as suggestions see them."""
        return [
            Past(one.number, one.labels, self.space.identify(one.parameters), _STATES[one.state], self._value(one))
            for one in self.trials[:number]
        ]

    def _value(self, trial: Trial) -> float | None:
        """Return what a trial came to; of one that was stopped what it had at its last rung."""
        if trial.state is not TrialState.STOPPED:
            return trial.value
        own = trial.number if trial.reused_from is None else trial.reused_from
        return next((row.value for row in reversed(list(self.rungs.values())) if row.number == own), None)

    def is_stopped(self, number: int) -> bool:
        """Whether it was decided that a trial is stopped, also where that is not carried out yet."""
        return any(row.verdict == "stopped" for row in self.rungs.values() if row.number == number)

    def run_of(self, trial: Trial) -> Run | None:
        """Return the run of a trial, also one that it shares."""
        return self.runs.get(trial.number if trial.reused_from is None else trial.reused_from)


def load_standing(store: RunStore, search_id: str, *, all_runs: bool = False) -> Standing:
    """Read a search as it stands. Runs of ended trials are read where hours are counted, or with `all_runs`."""
    search = load_search(store, search_id)
    spec = validate_search(search.spec, source=f"the record of search {search.id[:8]}")
    config = validate_tree(search.config, source=f"the record of search {search.id[:8]}")
    trials = list_trials(store, search.id)
    everything = all_runs or spec.limits.hours is not None
    wanted = [one.number for one in trials if everything or one.state is TrialState.OPEN]
    rungs = load_rungs(store, search.id) if spec.stop.kind != "none" else {}
    return Standing(search, config, spec, Space(config, spec), trials, runs_of_trials(store, search, wanted), rungs)


def value_of(run: Run, metric: str) -> float | None:
    """Return the metric of a finished run; None where it has none that is a number."""
    return value_in(run.metrics or {}, metric)


def value_in(metrics: Mapping[str, Any], metric: str) -> float | None:
    """Return one of some metrics; None where there is none that is a number."""
    value = metrics.get(metric)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)
