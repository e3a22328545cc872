"""How far the best of so many trials may lead trial 0 by luck alone: what a chart draws as a band."""

from __future__ import annotations

import math
from typing import Any

from finetune30.service.runs.open_records import Records
from finetune30.service.searches.judging import load_trials
from finetune30.service.searches.standing import Standing
from finetune30.store.search_ends import load_end

Json = dict[str, Any]
#: Trials whose rows are read: what chance moves is known from so many, and asking again costs little.
MOST_READ = 20
#: Counts of trials that the band has points for, one by one up to here and then further and further apart.
ONE_BY_ONE = 40
#: How far a metric may lie from the mean of its rows, by rounding.
_ROUNDING = 1e-4


def describe_luck(records: Records, standing: Standing) -> Json:
    """Return the band as JSON: `default` (the value of trial 0), `noise`, and `band`, a list of `tried` and `reach`.

    `noise` is the standard deviation by chance of the value of one trial: what rows and, once the end was judged, seeds
    move (`with_seeds`). `reach`: what the best of so many settings that are all as good as trial 0 does not pass in 95
    of 100 searches. Without a band `reason` says why.
    """
    first, best = next(iter(standing.trials), None), standing.best
    if first is None or best is None or first.value is None:
        return _no_band("trial 0 has no value yet")
    noise, with_seeds, reason = _measure_noise(records, standing, best.number)
    if noise is None:
        return _no_band(reason)
    from finetune30.service.statistics.luck import reach_of_best

    counts = _choose_counts(max(2, len(standing.trials)))
    sign = 1.0 if standing.search.greater_is_better else -1.0
    band = [
        {"tried": count, "reach": first.value + sign * noise * reach}
        for count, reach in zip(counts, reach_of_best(counts), strict=True)
    ]
    return {"default": first.value, "noise": noise, "with_seeds": with_seeds, "band": band, "reason": ""}


def _measure_noise(records: Records, standing: Standing, best: int) -> tuple[float | None, bool, str]:
    """Return by how much chance moves one trial, whether seeds are in it, and why it is not known."""
    from finetune30.service.statistics.luck import expected_maximum, row_noise

    numbers, columns, _, _, groups = load_trials(records, standing, best, MOST_READ)
    if len(numbers) < 2 or len(columns[0]) < 2:
        return None, False, "fewer than two trials were judged on the same rows"
    for number, outcomes in zip(numbers, columns, strict=True):
        value = standing.trials[number].value
        if value is None or not math.isclose(value, outcomes.mean(), rel_tol=_ROUNDING, abs_tol=_ROUNDING):
            return None, False, f"{standing.search.metric} is not the mean of what is known of each row"
    end = load_end(records.store, standing.search.id)
    if luck := ((end and end.verdict) or {}).get("expected_luck"):
        return luck["size"] / expected_maximum(luck["tried"]), True, ""
    import numpy as np

    return row_noise(np.stack(columns, axis=1), groups), False, ""


def _choose_counts(most: int) -> list[int]:
    counts = [*range(1, min(most, ONE_BY_ONE) + 1)]
    while counts[-1] < most:
        counts.append(min(most, math.ceil(counts[-1] * 1.1)))
    return counts


def _no_band(reason: str) -> Json:
    return {"default": None, "noise": None, "with_seeds": False, "band": [], "reason": reason}
