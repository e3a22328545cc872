"""The end of a search: its best trial and trial 0 are trained again under other seeds, as sets of runs, and judged.

The row of the end is written before the search is over, and its sets before their runs: whoever is killed between two
steps leaves an end that the next look takes further.
"""

from __future__ import annotations

from collections.abc import Callable

from finetune30 import failpoints
from finetune30.service.runs.open_records import Records
from finetune30.service.searches.judging import judge_end
from finetune30.service.searches.standing import Standing
from finetune30.service.sets.handing_in import hand_in, write_set
from finetune30.service.sets.plans import Plan
from finetune30.service.submitting.submission import Publisher
from finetune30.settings import Settings
from finetune30.store import Run, RunStatus, RunStore
from finetune30.store.run_sets import RunSet, load_set, runs_of
from finetune30.store.search_ends import SearchEnd, list_ends, load_end, record_end, write_verdict
from finetune30.store.searches import SearchStatus, Trial

#: Of what an end says that more trials came after.
SUPERSEDED = {"verdict": None, "message": "more trials were made before it was judged"}


def plan_end(store: RunStore, standing: Standing) -> None:
    """Write the end of a search whose trials are over; nothing where it is to have none, or no trial has a value."""
    best, seeds = standing.best, standing.spec.confirm.seeds
    if best is None or not seeds:
        return
    sets: list[str | None] = [None, None]
    if best.number != 0:
        both = standing.trials[0], best
        sets = [write_set(store, _plan_set(standing, one, seeds), standing.search.submitted_by).id for one in both]
    failpoints.reach("search.before_end")
    record_end(store, standing.search.id, len(standing.trials), best.number, sets[0], sets[1])
    for earlier in list_ends(store, standing.search.id)[:-1]:
        write_verdict(store, earlier, SUPERSEDED)
    failpoints.reach("search.after_end")


def open_end(store: RunStore, standing: Standing) -> SearchEnd | None:
    """Return the end that is under way: trials are over, and nothing is said yet."""
    end = load_end(store, standing.search.id)
    going = end is not None and end.judged_at is None and standing.search.status is SearchStatus.SUCCEEDED
    return end if going else None


def advance_end(store: RunStore, standing: Standing, settings: Settings, publisher: Publisher) -> bool:
    """Take the end that is under way one look further: hand its runs in, and judge it once all have ended.

    One with a cancelled run waits: `resume` takes that up again. Tells whether it was judged by this. Raises what
    `submit` raises, StorageError.
    """
    end = open_end(store, standing)
    if end is None:
        return False
    for run_set, trial in list_sets(store, standing, end):
        explicit = frozenset(standing.search.explicit_keys) | trial.parameters.keys()
        hand_in(store, run_set, settings, explicit, publisher=publisher, priority=standing.search.priority)
    return judge_when_over(Records(store, settings.results_folder), standing, end)


def carry_out_end(records: Records, standing: Standing, carry_out: Callable[[RunSet, frozenset[str]], object]) -> bool:
    """Let `carry_out` carry the sets of the end that is under way out, and judge it; tell whether it was judged."""
    end = open_end(records.store, standing)
    if end is None:
        return False
    for run_set, trial in list_sets(records.store, standing, end):
        carry_out(run_set, frozenset(standing.search.explicit_keys) | trial.parameters.keys())
    return judge_when_over(records, standing, end)


def judge_when_over(records: Records, standing: Standing, end: SearchEnd) -> bool:
    """Write what is said of an end, once its runs have ended, and tell whether; one with a cancelled run waits."""
    wanted = standing.spec.confirm.seeds * len(end.sets)
    runs = runs_of_end(records.store, end)
    if len(runs) != wanted or any(run.status not in (RunStatus.SUCCEEDED, RunStatus.FAILED) for run in runs):
        return False
    verdict = judge_end(records, standing, end)
    failpoints.reach("search.before_verdict")
    return write_verdict(records.store, end, verdict)


def runs_of_end(store: RunStore, end: SearchEnd) -> list[Run]:
    """Return the runs of an end that were handed in."""
    return [run for set_id in end.sets for run in runs_of(store, load_set(store, set_id)).values()]


def list_sets(store: RunStore, standing: Standing, end: SearchEnd) -> list[tuple[RunSet, Trial]]:
    """Return the sets of an end with the trials that they repeat, trial 0 first; none where trial 0 is the best."""
    trials = standing.trials[0], standing.trials[end.best]
    return [(load_set(store, set_id), trial) for set_id, trial in zip(end.sets, trials, strict=False)]


def _plan_set(standing: Standing, trial: Trial, seeds: int) -> Plan:
    search = standing.search
    config = standing.space.apply(trial.parameters, trial.number)
    first = config.training.seed + 1
    entries = tuple(
        {"number": number, "seed": first + number - 1, "dataset_digest": search.dataset_digest}
        for number in range(1, seeds + 1)
    )
    explicit = frozenset(search.explicit_keys) | trial.parameters.keys()
    return Plan("seeds", config, entries, explicit, search.dataset_digest)
