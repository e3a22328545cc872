"""Whether a run would get what it names, told before it is submitted: what would stand in, and what is out of reach."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from finetune30.config import ExperimentConfig
from finetune30.config.offline_fallback import resolve_fallbacks, tuned_settings
from finetune30.config.schema import OWN_MODELS, VERSION_PREFIX
from finetune30.data.starter import is_starter
from finetune30.errors import HubAnswerError, HubUnavailableError
from finetune30.hub.cache import find_reference, snapshot_folder
from finetune30.hub.faults import unavailable
from finetune30.hub.reach import hub_reachable

#: How long it is taken for granted whether the hub answers; to ask takes up to three seconds.
FRESH_SECONDS = 30.0


@dataclass(frozen=True)
class Forecast:
    """`config` is what would run here; the rest as in `Inputs`, or `out_of_reach`: what the run would fail with.

    `starter_offered`: that is the model; the starter would do, were it named.
    """

    config: ExperimentConfig
    replaced: dict[str, str] = field(default_factory=dict)
    replaced_settings: dict[str, Any] = field(default_factory=dict)
    out_of_reach: HubUnavailableError | None = None
    starter_offered: bool = False


class HubWatch:
    """Remembers for a while whether the hub answers; safe to use from several threads."""

    def __init__(self, ask: Callable[[], bool] = hub_reachable, now: Callable[[], float] = time.monotonic) -> None:
        self._ask, self._now = ask, now
        self._lock = threading.Lock()
        self._known: tuple[float, bool] | None = None

    def is_there(self) -> bool:
        """Return whether the hub answers; an address that is none counts as an answer, which the run will name."""
        with self._lock:
            if self._known is None or self._now() - self._known[0] > FRESH_SECONDS:
                self._known = (self._now(), self._look())
            return self._known[1]

    def _look(self) -> bool:
        try:
            return self._ask()
        except HubAnswerError:
            return True


def forecast_run(config: ExperimentConfig, explicit: frozenset[str], hub: HubWatch) -> Forecast:
    """Return what a run of this configuration would be made from on a machine like this one; nothing is fetched.

    What is cached counts as there; whether it is whole is seen by the run.
    """

    def reach_model(wanted: ExperimentConfig) -> None:
        model = wanted.model
        if model.name in OWN_MODELS or Path(model.name).exists() or _has_weights(model.name, model.revision):
            return
        if not hub.is_there():
            raise unavailable("model", model.name)

    def reach_data(wanted: ExperimentConfig) -> None:
        name = wanted.data.dataset_name
        if is_starter(name) or name.startswith(VERSION_PREFIX) or Path(name).exists():
            return
        parts = (wanted.data.dataset_config or "default", "")
        if find_reference("dataset", name, wanted.data.revision, parts) is None and not hub.is_there():
            raise unavailable("dataset", name)

    try:
        resolved, replaced = resolve_fallbacks(config, explicit, reach_model, reach_data)
    except HubUnavailableError as error:
        return Forecast(config, out_of_reach=error, starter_offered="name" in error.details)
    return Forecast(resolved, replaced, tuned_settings(config, resolved))


def _has_weights(name: str, revision: str | None) -> bool:
    reference = find_reference("model", name, revision, ("whole", "tokenizer", ""))
    return reference is not None and any(snapshot_folder(reference).glob("*.safetensors"))
