"""Stopping trials that are clearly worse: at rungs, which are evaluations on the way of a whole training.

What is decided of trial n is a function of its value at the rung and of the trials that its suggestion may see, all of
which have ended: nothing is waited for, and 1 and 8 workers decide the same. The decision is a row before it is acted
upon; `verify` makes it again.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from finetune30 import failpoints
from finetune30.config.search import LEAST_FINISHED
from finetune30.service.execution.pausing import find_rung, is_at_rung
from finetune30.service.searches.standing import Standing, value_in
from finetune30.service.searches.suggesting import count_visible
from finetune30.service.statistics.prediction import compare_with_best
from finetune30.store import Run, RunFolder, RunStatus, RunStore
from finetune30.store.search_rungs import Rung, Verdict, load_rungs, record_rung
from finetune30.store.searches import Trial, TrialState, finish_trial

#: So many times the even share of `stop.risk` is what one trial may be stopped at, since most are stopped at far less.
#: `python -m benchmarks.search_stops` holds the whole search to `stop.risk`.
_SHARES_OF_RISK = 8


def level_of_one(risk: float, planned: int, rungs: int) -> float:
    """Return at which chance of being the best a trial is stopped, so that a whole search keeps to its risk."""
    return min(risk, _SHARES_OF_RISK * risk / planned) / rungs


def choose_pause(standing: Standing, number: int) -> float | None:
    """Return the share of its steps at which a trial pauses first; None where nothing could be said of it there."""
    stop = standing.spec.stop
    if stop.kind == "none" or len(_list_seen(standing, number, 0)) < LEAST_FINISHED:
        return None
    return stop.at[0]


def settle_rungs(store: RunStore, standing: Standing, trial: Trial, run: Run, results: Path) -> bool:
    """Decide what can be decided of a trial at its rungs, and do it; tell whether it was stopped by that.

    `results` is the folder of the runs.
    """
    shares = standing.spec.stop.at if standing.spec.stop.kind != "none" else []
    decided = []
    for rung in range(len(shares)):
        row = standing.rungs.get((trial.number, rung)) or _decide(store, standing, trial, run, rung, results)
        if row is None:
            break
        if row.verdict == "stopped":
            _stop(store, trial, run, row, results)
            return True
        decided.append(row.share)
    if run.status is RunStatus.PAUSED and run.pause_at in decided:
        failpoints.reach("search.before_promotion")
        store.promote(run, next((share for share in shares if share not in decided), None))
        failpoints.reach("search.after_promotion")
    return False


def judge_rung(
    standing: Standing, number: int, rung: int, value: float | None, *, level: float | None = None
) -> tuple[Verdict, str, dict[str, Any]]:
    """Return verdict, reason and what was compared, of a trial with a value at a rung.

    `level`: the chance of being the best below which it is stopped; None: what `stop.risk` allows now.
    """
    spec, better = standing.spec, 1.0 if standing.search.greater_is_better else -1.0
    seen = _list_seen(standing, number, rung)
    if level is None:
        level = level_of_one(spec.stop.risk, standing.planned, len(spec.stop.at))
    compared: dict[str, Any] = {"rule": spec.stop.kind, "trials": [one.number for one, _ in seen], "level": level}
    if value is None:
        return "promoted", "it has no number there", compared
    if len(seen) < LEAST_FINISHED:
        return "promoted", f"{len(seen)} of {LEAST_FINISHED} trials have ended that tell what a rung says", compared
    early, final = [better * at_rung for _, at_rung in seen], [better * (one.value or 0.0) for one, _ in seen]
    found = compare_with_best(early, final, better * value)
    if found is None:
        return "promoted", "the rung says nothing of the end", compared
    line, best = found.line, seen[found.best][0]
    expected = better * line.predict(better * value)
    compared |= {"slope": line.slope, "noise": line.noise, "expected": expected}
    compared |= {"best": best.number, "chance": found.chance}
    said = f"{expected:.4f} is expected of it, give or take {line.noise:.4f}; trial {best.number} has {best.value:.4f}"
    if found.is_behind and found.chance < level:
        return "stopped", said, compared
    return "promoted", said, compared


def _decide(store: RunStore, standing: Standing, trial: Trial, run: Run, rung: int, results: Path) -> Rung | None:
    """Write what is decided of a trial at a rung, and return it; None while it has not come there."""
    share = standing.spec.stop.at[rung]
    if _waits_at(run, share):
        found = run.paused
    elif run.status is RunStatus.SUCCEEDED:  # the first trials do not pause, nor do those of a release before
        total = int((run.progress or {}).get("total_steps") or 0)
        found = find_rung(RunFolder(results / run.folder).history, share, total)
    else:
        found = None
    if found is None:
        return None
    value = value_in(found["metrics"], standing.search.metric)
    verdict, reason, compared = judge_rung(standing, trial.number, rung, value)
    took = (run.finished_at - run.started_at).total_seconds() if run.started_at and run.finished_at else 0.0
    failpoints.reach("search.before_decision")
    record_rung(
        store,
        trial.search_id,
        trial.number,
        rung,
        share=share,
        step=found["step"],
        total_steps=found["total_steps"],
        value=value,
        verdict=verdict,
        reason=reason,
        compared=compared,
        seconds=took if run.status is RunStatus.PAUSED and run.pause_at == share else 0.0,
    )
    failpoints.reach("search.after_decision")
    return load_rungs(store, trial.search_id)[trial.number, rung]


def _waits_at(run: Run, share: float) -> bool:
    """Whether a run has paused at the first evaluation from a share on; several shares may fall on one evaluation."""
    if run.status is not RunStatus.PAUSED or run.pause_at is None or run.paused is None:
        return False
    return run.pause_at == share or (run.pause_at < share and is_at_rung(run.paused, share))


def _stop(store: RunStore, trial: Trial, run: Run, row: Rung, results: Path) -> None:
    if run.status is RunStatus.PAUSED:
        store.stop_paused(run, f"clearly worse at {row.share:.0%} of its steps: {row.reason}")
        failpoints.reach("search.after_stop")
    size = RunFolder(results / run.folder).size_bytes()
    reason = f"clearly worse at step {row.step} of {row.total_steps}: {row.reason}"
    finish_trial(store, trial, TrialState.STOPPED, reason=reason, size_bytes=size, stopped_at=row.share)


def _list_seen(standing: Standing, number: int, rung: int) -> list[tuple[Trial, float]]:
    """Return the trials with a value of their own that a decision about trial `number` sees, with that at the rung."""
    found = []
    for one in standing.trials[: count_visible(number, standing.spec.window)]:
        row = standing.rungs.get((one.number, rung))
        if one.state is TrialState.DONE and one.reused_from is None and row is not None and row.value is not None:
            found.append((one, row.value))
    return found
