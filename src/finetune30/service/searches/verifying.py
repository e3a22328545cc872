"""Making the suggestions and decisions of a search again out of its record: the same, or which ones are not."""

from __future__ import annotations

import math
from typing import Any

from finetune30.service.searches.rungs import judge_rung
from finetune30.service.searches.standing import Standing
from finetune30.service.searches.suggesting import suggest, uses_optuna
from finetune30.service.searches.tpe import optuna_versions, require_optuna
from finetune30.store.searches import Trial


def verify_search(standing: Standing) -> dict[str, Any]:
    """Return as JSON how many suggestions were made again, and which differ.

    `not_checked` are those of other versions of Optuna, which suggests otherwise then. Raises UsageError where Optuna
    is needed and missing.
    """
    differ, not_checked, checked = [], [], 0
    for trial in standing.trials:
        if uses_optuna(standing.spec, trial.number):
            require_optuna()
            if trial.versions != optuna_versions():
                not_checked.append({"number": trial.number, "versions": trial.versions})
                continue
        checked += 1
        if wanted := _find_difference(standing, trial):
            differ.append({"number": trial.number, **wanted})
    found = {"checked": checked, "differ": differ, "not_checked": not_checked}
    return found | _verify_decisions(standing) if standing.spec.stop.kind != "none" else found


def _verify_decisions(standing: Standing) -> dict[str, Any]:
    """Return how many decisions at rungs were made again, and which differ.

    Each is made with as many trials planned as when it was decided, which its level tells.
    """
    differ = []
    for row in standing.rungs.values():
        verdict, reason, compared = judge_rung(standing, row.number, row.rung, row.value, level=row.compared["level"])
        if row.verdict != verdict or row.reason != reason or not _is_same(row.compared, compared):
            differ.append({"number": row.number, "rung": row.rung, "recorded": row.verdict, "decided": verdict})
    return {"decisions": len(standing.rungs), "decisions_differ": differ}


def _is_same(recorded: dict[str, Any], made: dict[str, Any]) -> bool:
    """Tell whether two comparisons are the same; numbers may differ by what another machine rounds otherwise."""
    return recorded.keys() == made.keys() and all(
        math.isclose(recorded[key], value, rel_tol=1e-6, abs_tol=1e-12)
        if isinstance(value, float)
        else recorded[key] == value
        for key, value in made.items()
    )


def _find_difference(standing: Standing, trial: Trial) -> dict[str, Any] | None:
    """Return what a trial has and what it should have; None where these are the same."""
    space = standing.space
    if trial.number == 0:
        labels, parameters = space.labels_of_base(), {}
    else:
        past, better = standing.past(trial.number), standing.search.greater_is_better
        found = suggest(space, standing.spec, trial.number, past, greater_is_better=better)
        labels = None if found is None else found.labels
        parameters = {} if found is None else space.settle(found.labels)
    if (trial.labels, trial.parameters) == (labels, parameters):
        return None
    return {"recorded": trial.parameters, "suggested": parameters}
