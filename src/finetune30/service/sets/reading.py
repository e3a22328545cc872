"""Planning a set on behalf of the API, in a process of its own: rows are read and stored, nothing is handed in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from finetune30.config.loading import LoadedConfig, validate_tree
from finetune30.service.datasets.operations import versions_of
from finetune30.service.runs.open_records import open_records
from finetune30.service.sets.making import Wanted, plan_set
from finetune30.service.submitting.start_weights import pin_loaded
from finetune30.settings import Settings


def read_run_set(
    settings: Settings, _name: str, config: Mapping[str, Any], explicit: Sequence[str], wanted: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the plan of a set as JSON (see `plans.restore_plan`), and what was said of its rows."""
    said: list[str] = []
    with open_records(settings) as records:
        loaded = pin_loaded(LoadedConfig(validate_tree(dict(config)), frozenset(explicit)), records)
        plan = plan_set(loaded, Wanted(**wanted), settings, versions_of(settings, records.store), said.append)
    return {
        **plan.as_request(),
        "explicit": sorted(plan.explicit),
        "dataset_digest": plan.dataset_digest,
        "said": said,
    }
