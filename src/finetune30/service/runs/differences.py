"""What runs were told differently, and the numbers that came out, key by key."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from finetune30.config.loading import flatten_tree
from finetune30.service.runs.details import SUMMARY_KEYS
from finetune30.store import Run
from finetune30.values import is_number

#: What names of metrics begin with beside keys of the configuration.
METRICS = "metrics."
_NAMES_ONLY = frozenset({"experiment_name", "training.output_dir"})


def differing_keys(runs: Sequence[Run]) -> dict[str, list[Any]]:
    """Return key (dotted) -> value of each run, of what was configured differently but for names."""
    flat = [flatten_tree(run.config) for run in runs]
    keys = [key for key in dict.fromkeys(key for tree in flat for key in tree) if key not in _NAMES_ONLY]
    values = {key: [tree.get(key) for tree in flat] for key in keys}
    return {key: found for key, found in values.items() if any(value != found[0] for value in found)}


def metric_table(runs: Sequence[Run]) -> dict[str, list[float | None]]:
    """Return name -> value of each run, of every metric that is a number in one of them."""
    numbers = [{key: v for key, v in (run.metrics or {}).items() if is_number(v)} for run in runs]
    keys = dict.fromkeys(key for metrics in numbers for key in metrics)
    return {key: [metrics.get(key) for metrics in numbers] for key in keys}


def describe_differences(
    runs: Sequence[Run], asked: Sequence[str]
) -> tuple[dict[str, list[str]], list[dict[str, Any]]]:
    """Return the keys that differ (what decides most comes first) and those of all metrics, and the values of each run.

    Values are those of both and of the dotted keys of the configuration that are `asked` for.
    """
    differing, metrics = differing_keys(runs), metric_table(runs)
    ranks = {key: rank for rank, key in enumerate(SUMMARY_KEYS)}
    ordered = sorted(differing, key=lambda key: ranks.get(key, len(ranks)))
    told = {"differing": ordered, "metrics": [METRICS + name for name in metrics]}
    values = [
        own | {METRICS + name: found[place] for name, found in metrics.items()}
        for place, own in enumerate(configured_values(runs, [*ordered, *asked]))
    ]
    return told, values


def configured_values(runs: Sequence[Run], keys: Sequence[str]) -> list[dict[str, Any]]:
    """Return the values of dotted keys of the configuration, for each run."""
    wanted = [key for key in dict.fromkeys(keys) if not key.startswith(METRICS)]
    return [{key: flat.get(key) for key in wanted} for flat in (flatten_tree(run.config) for run in runs)]
