"""The end of a search: its best trial and trial 0 are trained again under other seeds, as sets of runs, and judged.

The row of the end is written before the search is over, and its sets before their runs: whoever is killed between two
steps leaves an end that the next look takes further.
"""

from __future__ import annotations

from collections.abc import Callable

from finetune30 import failpoints
from finetune30.config.schema import MOST_SEED
from finetune30.service.runs.open_records import Records
from finetune30.service.searches.judging import judge_end
from finetune30.service.searches.repeats import load_repeats
from finetune30.service.searches.standing import Standing
from finetune30.service.sets.handing_in import hand_in, write_set
from finetune30.service.sets.plans import Plan
from finetune30.service.submitting.submission import Publisher
from finetune30.settings import Settings
from finetune30.store import RunStore
from finetune30.store.run_sets import RunSet, load_set
from finetune30.store.search_ends import SearchEnd, list_ends, load_end, record_end, write_verdict
from finetune30.store.searches import SearchStatus, Trial, TrialState

_SUPERSEDED = "more trials were made before it was judged"
#: What is said of an end that more trials came after.
SUPERSEDED: dict[str, str | None] = {"verdict": None, "message": _SUPERSEDED}


def plan_end(store: RunStore, standing: Standing) -> None:
    """Write the end of a search whose trials are over; nothing where it is to have none, or no trial has a value.

    Its sets are its own, whatever else repeats the same configuration: deleted and cancelled with it.
    """
    best, seeds = standing.best, standing.spec.confirm.seeds
    if best is None or not seeds:
        return
    sets: list[str | None] = [None, None]
    if best.number != 0:
        plans = [_plan_set(standing, one, seeds) for one in (standing.trials[0], best)]
        sets = [write_set(store, plan, standing.search.submitted_by).id for plan in plans]
    failpoints.reach("search.before_end")
    record_end(store, standing.search.id, _count_ended(standing), best.number, sets[0], sets[1])
    for earlier in list_ends(store, standing.search.id)[:-1]:
        write_verdict(store, earlier, SUPERSEDED, left_unopened=_SUPERSEDED)
    failpoints.reach("search.after_end")


def open_end(store: RunStore, standing: Standing) -> SearchEnd | None:
    """Return the end that is under way: trials are over, by number or by a limit, and nothing is said yet."""
    end, status = load_end(store, standing.search.id), standing.search.status
    if end is None or end.judged_at is not None:
        return None
    is_over = status is SearchStatus.STOPPED and end.tried == _count_ended(standing)
    return end if is_over or status is SearchStatus.SUCCEEDED else None


def advance_end(store: RunStore, standing: Standing, settings: Settings, publisher: Publisher) -> bool:
    """Take the end that is under way one look further: hand its runs in, and judge it once all have ended.

    One with a cancelled run waits, and one of which too many failed: `resume` takes these up again. Tells whether it
    was judged by this. Raises what `submit` raises, StorageError.
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
    """Write what is said of an end, once its runs have ended, and tell whether; what `resume` may mend is no end."""
    repeats = load_repeats(records.store, end)
    if len(repeats) != len(end.sets) or not all(one.have_ended and not one.have_to_be_taken_up for one in repeats):
        return False
    verdict = judge_end(records, standing, end)
    failpoints.reach("search.before_verdict")
    reason = None if verdict["verdict"] is not None and end.sets else str(verdict["message"])
    is_first = write_verdict(records.store, end, verdict, left_unopened=reason)
    failpoints.reach("search.after_verdict")
    return is_first


def list_sets(store: RunStore, standing: Standing, end: SearchEnd) -> list[tuple[RunSet, Trial]]:
    """Return the sets of an end with the trials that they repeat, trial 0 first; none where trial 0 is the best."""
    trials = standing.trials[0], standing.trials[end.best]
    return [(load_set(store, set_id), trial) for set_id, trial in zip(end.sets, trials, strict=False)]


def _count_ended(standing: Standing) -> int:
    return sum(trial.state is not TrialState.OPEN for trial in standing.trials)


def _plan_set(standing: Standing, trial: Trial, seeds: int) -> Plan:
    search = standing.search
    config = standing.space.apply(trial.parameters, trial.number)
    own = config.training.seed
    step = 1 if own + seeds <= MOST_SEED else -1
    entries = tuple(
        {"number": number, "seed": own + step * number, "dataset_digest": search.dataset_digest}
        for number in range(1, seeds + 1)
    )
    explicit = frozenset(search.explicit_keys) | trial.parameters.keys()
    owner = f"{search.id}:{_count_ended(standing)}:{trial.number}"
    return Plan("seeds", config, entries, explicit, search.dataset_digest, owner)
