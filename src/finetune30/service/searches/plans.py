"""What a search is made of, as it is recorded: light enough for those who only begin one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from finetune30.config import ExperimentConfig
from finetune30.config.loading import validate_tree
from finetune30.config.search import MOST_TRIALS, SearchConfig
from finetune30.config.search_loading import validate_search
from finetune30.service.searches.space import Space
from finetune30.service.searches.suggesting import Past, suggest
from finetune30.service.submitting.submission import digest_request
from finetune30.values import say_count


@dataclass(frozen=True)
class SearchPlan:
    """What a search is made of, with its rows frozen and its metric settled."""

    config: ExperimentConfig
    explicit: frozenset[str]
    dataset_digest: str
    search: SearchConfig
    metric: str
    greater_is_better: bool

    @property
    def request_sha256(self) -> str:
        """What tells two searches apart."""
        return digest_request({"config": self.config.as_tree(), "search": self.search.as_tree()})

    def as_dict(self) -> dict[str, Any]:
        """Return a JSON tree, from which `restore_plan` makes the plan again."""
        return {
            "config": self.config.as_tree(),
            "explicit": sorted(self.explicit),
            "dataset_digest": self.dataset_digest,
            "search": self.search.as_tree(),
            "metric": self.metric,
            "greater_is_better": self.greater_is_better,
        }


def restore_plan(told: Mapping[str, Any]) -> SearchPlan:
    """Return the plan that `SearchPlan.as_dict` told of."""
    return SearchPlan(
        validate_tree(told["config"]),
        frozenset(told["explicit"]),
        told["dataset_digest"],
        validate_search(told["search"]),
        told["metric"],
        told["greater_is_better"],
    )


def say_trials(plan: SearchPlan) -> str:
    """Return how many trials a plan makes, in words."""
    search = plan.search
    hours = "" if search.limits.hours is None else f", at most {search.limits.hours:g} hours of training"
    if search.sampler == "grid":
        size = 1 + sum(1 for _ in Space(plan.config, search).list_grid())
        return f"{min(size, search.trials or MOST_TRIALS)} of a grid of {say_count(size, 'trials')}{hours}"
    return f"{'as many' if search.trials is None else search.trials} trials{hours}"


def list_first(plan: SearchPlan) -> list[dict[str, Any]]:
    """Return the values of the trials that are suggested before any has ended; trial 0 has none of its own."""
    space = Space(plan.config, plan.search)
    past = [Past(0, space.labels_of_base(), space.identify({}), "open")]
    values: list[dict[str, Any]] = [{}]
    while len(values) < min(plan.search.window, plan.search.trials or MOST_TRIALS):
        found = suggest(space, plan.search, len(values), past, greater_is_better=plan.greater_is_better)
        if found is None:
            break
        values.append(space.settle(found.labels))
        past.append(Past(len(past), found.labels, space.identify(values[-1]), "open"))
    return values
