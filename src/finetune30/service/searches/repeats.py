"""How far the repeats at the end of a search are: of trial 0 and of the best trial, how many finished and failed."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass

from finetune30.errors import NotFoundError
from finetune30.store import Run, RunStatus, RunStore
from finetune30.store.run_sets import RunSet, load_set, runs_of
from finetune30.store.search_ends import SearchEnd

#: Repeats of a side without which it cannot be judged.
LEAST_REPEATS = 2
_ENDED = (RunStatus.SUCCEEDED, RunStatus.FAILED, RunStatus.CANCELLED)


@dataclass(frozen=True)
class Repeats:
    """The repeats of one trial; `reason` is why the first failed one failed."""

    planned: int
    finished: int
    failed: int
    cancelled: int
    reason: str

    @property
    def have_ended(self) -> bool:
        """Whether none waits or trains."""
        return self.finished + self.failed + self.cancelled == self.planned

    @property
    def have_to_be_taken_up(self) -> bool:
        """Whether `resume` is needed before they can be judged."""
        return self.have_ended and (self.cancelled > 0 or (self.failed > 0 and self.finished < LEAST_REPEATS))

    def as_dict(self) -> dict[str, int]:
        """Return a JSON tree."""
        return {"planned": self.planned, "finished": self.finished, "failed": self.failed}


def count_repeats(run_set: RunSet, runs: Iterable[Run]) -> Repeats:
    """Count the runs of a set by what came of them."""
    found = list(runs)
    finished, failed, cancelled = (sum(run.status is status for run in found) for status in _ENDED)
    reasons = (str((run.error or {}).get("message", "")) for run in found if run.status is RunStatus.FAILED)
    return Repeats(len(run_set.plan), finished, failed, cancelled, next(reasons, ""))


def load_sets(store: RunStore, end: SearchEnd) -> list[RunSet]:
    """Return the sets of an end, that of trial 0 first; one that is gone is left out."""
    found = []
    for set_id in end.sets:
        with suppress(NotFoundError):
            found.append(load_set(store, set_id))
    return found


def load_repeats(store: RunStore, end: SearchEnd) -> list[Repeats]:
    """Return the repeats of trial 0 and of the best trial; fewer where sets are gone, none where none are."""
    return [count_repeats(one, runs_of(store, one).values()) for one in load_sets(store, end)]


def runs_of_end(store: RunStore, end: SearchEnd) -> list[Run]:
    """Return the runs of an end that were handed in."""
    return [run for one in load_sets(store, end) for run in runs_of(store, one).values()]
