"""From a configuration and its search to a planned search: frozen rows, and what they can tell."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from finetune30.config import ExperimentConfig
from finetune30.config.search import SearchConfig
from finetune30.config.search_loading import LoadedSearch
from finetune30.data.problem import is_better_greater
from finetune30.errors import UsageError
from finetune30.problems import load_problem
from finetune30.service.searches.plans import SearchPlan, say_trials
from finetune30.service.searches.tpe import require_optuna
from finetune30.service.sets.freezing import freeze
from finetune30.service.sets.summary import describe_power, say_power
from finetune30.settings import Settings
from finetune30.values import say_count

if TYPE_CHECKING:
    from finetune30.data.versions.storage import VersionStore

Log = Callable[[str], None]


def plan_search(wanted: LoadedSearch, settings: Settings, versions: VersionStore, log: Log) -> SearchPlan:
    """Freeze the rows, say what so many can tell, and return the plan.

    Raises UsageError without evaluation rows and where Optuna is needed and missing, and what freezing raises.
    """
    search = wanted.search
    if search.sampler == "tpe":
        require_optuna()
    require_rungs(wanted.loaded.config, search)
    frozen = freeze(wanted.loaded, settings, versions, log)
    if frozen.evaluation_rows == 0:
        raise UsageError(
            "there are no evaluation rows to tell trials apart by",
            "name an evaluation file or split, or let a share be split off",
        )
    score = load_problem(frozen.manifest.problem_type).score
    metric = search.metric or score.name
    given = search.greater_is_better
    plan = SearchPlan(
        frozen.config,
        frozen.explicit,
        frozen.manifest.digest,
        search,
        metric,
        is_better_greater(metric, score) if given is None else given,
    )
    rows = {split: frozen.manifest.rows.get(split, 0) for split in ("train", "evaluation")}
    log(
        f"version {frozen.manifest.short}: {rows['train']:,} training and "
        f"{say_count(rows['evaluation'], 'evaluation rows', ',')}; "
        f"{say_trials(plan)} by {search.sampler}, {search.window} open at a time at most, "
        f"the {'greatest' if plan.greater_is_better else 'least'} {metric} is best"
    )
    if score.share_right is not None:
        log(say_power(describe_power(rows["evaluation"], grouped=frozen.manifest.schema.group is not None)))
    return plan


def require_rungs(config: ExperimentConfig, search: SearchConfig) -> None:
    """Raise UsageError where trials are to be stopped on a way that is not evaluated, or that may end by itself."""
    training, stop = config.training, search.stop
    if stop.kind == "none":
        return
    if training.early_stopping_patience is not None:
        raise UsageError(
            "search.stop and training.early_stopping_patience both end trainings early", "take one of them out"
        )
    epochs = training.num_train_epochs
    is_late = (
        training.eval_strategy == "epoch" and training.max_steps is None and math.ceil(stop.at[0] * epochs) >= epochs
    )
    if training.eval_strategy == "no" or is_late:
        raise UsageError(
            f"no trial is evaluated between {stop.at[0]:.0%} of its steps and its end: nothing could be stopped there",
            "evaluate on the way, for example with training.eval_strategy steps and training.eval_steps 10",
        )
