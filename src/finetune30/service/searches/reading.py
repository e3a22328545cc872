"""Planning a search on behalf of the API, in a process of its own: rows are read and stored, nothing is handed in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from finetune30.config.loading import LoadedConfig, validate_tree
from finetune30.config.search_loading import LoadedSearch, validate_search
from finetune30.service.datasets.operations import versions_of
from finetune30.service.runs.open_records import open_records
from finetune30.service.searches.making import plan_search
from finetune30.service.submitting.start_weights import pin_loaded
from finetune30.settings import Settings


def read_search(
    settings: Settings, _name: str, config: Mapping[str, Any], explicit: Sequence[str], search: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the plan of a search as JSON (see `plans.restore_plan`), and what was said of its rows."""
    said: list[str] = []
    loaded = LoadedConfig(validate_tree(dict(config)), frozenset(explicit))
    wanted = LoadedSearch(loaded, validate_search(dict(search)))
    with open_records(settings) as records:
        wanted = replace(wanted, loaded=pin_loaded(wanted.loaded, records))
        plan = plan_search(wanted, settings, versions_of(settings, records.store), said.append)
    return {**plan.as_dict(), "said": said}
