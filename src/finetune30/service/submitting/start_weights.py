"""The run or the version of a model that `training.start_adapter` names, as the folder of its adapter.

It is looked up once, before a run is made: an alias that moves later, or a newer run of the name, changes no run that
was begun.
"""

from __future__ import annotations

from dataclasses import replace

from finetune30.config import ExperimentConfig
from finetune30.config.loading import Fault, LoadedConfig, config_error, validate_tree
from finetune30.errors import ConflictError, NotFoundError
from finetune30.service.runs.details import require_intact_model, require_model
from finetune30.service.runs.open_records import Records
from finetune30.service.submitting.named_files import may_name_a_run

_KEY = "training.start_adapter"


def pin_start_adapter(config: ExperimentConfig, records: Records) -> ExperimentConfig:
    """Return the configuration with the folder of the adapter that a run, a model or a version of one names there.

    A path stays as it is. Raises ConfigError where nothing is called so, or the run has no finished model, StorageError
    where its files are not as they were published.
    """
    named = config.training.start_adapter
    if named is None or not may_name_a_run(named):
        return config
    try:
        run = require_model(records.store.get(named))
    except (NotFoundError, ConflictError) as error:
        hint = "name a run, a model (NAME, NAME@alias, NAME:7), or the folder of a saved adapter"
        problem = f"{named[:80]!r} is no folder, and {error.message}"
        raise config_error([Fault(_KEY, problem, "start", hint=hint)]) from None
    tree = config.as_tree()
    tree["training"]["start_adapter"] = str(require_intact_model(records, run).resolve())
    return validate_tree(tree, source=_KEY)


def pin_loaded(loaded: LoadedConfig, records: Records) -> LoadedConfig:
    """Return a loaded configuration with the folder of its adapter, see `pin_start_adapter`."""
    return replace(loaded, config=pin_start_adapter(loaded.config, records))
