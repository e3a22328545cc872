"""Suggestions of Optuna's tree-structured Parzen estimator (Bergstra et al. 2011), of nothing else of Optuna's.

A study in memory is made for each suggestion out of what is recorded, and thrown away. Values of lists are given to it
as the text of their index: values that compare equal (1, true) would be one, and lists are no choices.
"""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from finetune30.errors import UsageError
from finetune30.service.searches.space import Label, Space

if TYPE_CHECKING:
    from finetune30.service.searches.suggesting import Past

_INSTALL = "pip install 'finetune30[search]', or choose sampler: random"


def require_optuna() -> None:
    """Raise UsageError where Optuna is not installed; it is not imported."""
    if importlib.util.find_spec("optuna") is None:
        raise UsageError("sampler tpe needs Optuna, which is not installed here", _INSTALL)


def optuna_versions() -> dict[str, str]:
    """Return the versions on which a suggestion depends."""
    return {"optuna": version("optuna"), "numpy": version("numpy")}


def suggest_by_tpe(space: Space, seed: int, past: Sequence[Past], *, greater_is_better: bool) -> dict[str, Label]:
    """Return the labels that TPE suggests after `past`, whose open trials it takes for bad ones (constant liar)."""
    require_optuna()
    import optuna

    distributions = {key: _distribution(space, key) for key in space.parameters}
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        sampler = optuna.samplers.TPESampler(seed=seed, multivariate=True, constant_liar=True)
    study = optuna.create_study(direction="maximize" if greater_is_better else "minimize", sampler=sampler)
    states = {
        "open": optuna.trial.TrialState.RUNNING,
        "done": optuna.trial.TrialState.COMPLETE,
        "failed": optuna.trial.TrialState.FAIL,
        "stopped": optuna.trial.TrialState.PRUNED,
    }
    for one in past:
        if one.labels is not None:
            params = {key: _to_optuna(space, key, label) for key, label in one.labels.items()}
            on_the_way = {0: one.value} if one.state == "stopped" and one.value is not None else {}
            trial = optuna.trial.create_trial(
                state=states[one.state],
                value=None if on_the_way else one.value,
                params=params,
                distributions=distributions,
                intermediate_values=on_the_way,
            )
            study.add_trial(trial)
    found = study.ask(distributions).params
    return {key: _from_optuna(space, key, found[key]) for key in space.parameters}


def _distribution(space: Space, key: str) -> Any:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    parameter = space.parameters[key]
    if parameter.values is not None:
        return CategoricalDistribution([str(index) for index in range(len(parameter.values))])
    assert parameter.low is not None  # noqa: S101 - a range has both
    assert parameter.high is not None  # noqa: S101
    log = parameter.scale == "log"
    if space.is_whole(key):
        return IntDistribution(int(parameter.low), int(parameter.high), log=log)
    return FloatDistribution(parameter.low, parameter.high, log=log)


def _to_optuna(space: Space, key: str, label: Label) -> Any:
    return label if space.parameters[key].values is None else str(label)


def _from_optuna(space: Space, key: str, value: Any) -> Label:
    if space.parameters[key].values is not None:
        return int(value)
    return int(value) if space.is_whole(key) else float(value)
