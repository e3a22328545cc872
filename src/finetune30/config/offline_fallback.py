"""What happens when the default model or data set cannot be reached: the starter takes its place, loudly.

Only the default falls back, and only when the configuration says so; a model or data set that the user chose never
does, and data of the user's own are trained on the starter only when that is asked for. Whatever the user left at its
default becomes the starter's own tuned value.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from finetune30.config import DataConfig, ExperimentConfig, ModelConfig
from finetune30.config.loading import flatten_tree
from finetune30.config.presets import load_preset
from finetune30.config.schema import STARTER
from finetune30.errors import HubUnavailableError

#: Keys whose tuned values belong to the starter model, and those that belong to the starter data.
_MODEL_KEYS = (
    "lora.target_modules",
    "training.learning_rate",
    "training.per_device_train_batch_size",
    "training.num_train_epochs",
    "training.lr_scheduler_type",
    "training.warmup_ratio",
)
_DATA_KEYS = (
    "data.dataset_config",
    "data.revision",
    "data.train_split",
    "data.eval_split",
    "data.text_column",
    "data.text_pair_column",
    "data.label_column",
    "data.label_columns",
    "data.train_samples",
    "data.eval_samples",
)

#: Keys that only say which set is meant; they go with its name.
_NAMES_OF_A_SET = ("data.dataset_config", "data.revision")

#: The key that asks for the starter model beside data of one's own.
ASKING = "model.offline_fallback"

Reach = Callable[[ExperimentConfig], None]


def resolve_fallbacks(
    config: ExperimentConfig, explicit: frozenset[str], reach_model: Reach, reach_data: Reach
) -> tuple[ExperimentConfig, dict[str, str]]:
    """Return the configuration that can run here, and what was replaced by what (empty: nothing).

    `reach_model` and `reach_data` raise HubUnavailableError when their part cannot be had. Raises it too when no
    fallback is allowed; beside data of the user's own with what asks for the starter.
    """
    changes: dict[str, Any] = {}
    replaced: dict[str, str] = {}
    if _is_model_out_of_reach(reach_model, config, explicit):
        replaced[config.model.name] = str(config.model.offline_fallback)
        changes |= {"model.name": config.model.offline_fallback, "model.revision": None}
        changes |= _tuned(config.as_tree(), explicit, _MODEL_KEYS)
    if _is_out_of_reach(reach_data, config, allowed=_data_may_fall_back(config.data, explicit)):
        replaced[config.data.dataset_name] = str(config.data.offline_fallback)
        changes |= _data_changes(config.data, explicit)
    if not replaced:
        return config, {}
    changes |= {"model.offline_fallback": None, "data.offline_fallback": None}
    tree = config.as_tree()
    for key, value in changes.items():
        section, name = key.split(".")
        tree[section][name] = value
    return ExperimentConfig.model_validate(tree), replaced


def fall_back_data(data: DataConfig, explicit: frozenset[str]) -> DataConfig | None:
    """Return the data section that `resolve_fallbacks` takes where nobody answers; None: nothing may stand in."""
    if not _data_may_fall_back(data, explicit):
        return None
    changes = {key.removeprefix("data."): value for key, value in _data_changes(data, explicit).items()}
    return DataConfig.model_validate({**data.model_dump(mode="json"), **changes, "offline_fallback": None})


def tuned_settings(config: ExperimentConfig, resolved: ExperimentConfig) -> dict[str, Any]:
    """Return key -> value of every setting that came along with the starter."""
    before, after = flatten_tree(config.as_tree()), flatten_tree(resolved.as_tree())
    return {
        key: after[key]
        for key in (*_MODEL_KEYS, *_DATA_KEYS)
        if after[key] != before[key] and key not in _NAMES_OF_A_SET
    }


def _wants_to_be_asked(config: ExperimentConfig, explicit: frozenset[str]) -> bool:
    """Tell whether the starter would stand in for the model only if asked for: beside data of the user's own."""
    return _model_is_default(config.model, explicit) and ASKING not in explicit and _data_are_own(config.data, explicit)


def _is_model_out_of_reach(reach: Reach, config: ExperimentConfig, explicit: frozenset[str]) -> bool:
    try:
        return _is_out_of_reach(reach, config, allowed=_model_may_fall_back(config, explicit))
    except HubUnavailableError as error:
        if not _wants_to_be_asked(config, explicit):
            raise
        raise HubUnavailableError(
            error.message,
            "go online once, name a local folder, or train with the starter, which was made for English: "
            "--model.offline_fallback starter",
            details=error.details,
        ) from error


def _is_out_of_reach(reach: Reach, config: ExperimentConfig, *, allowed: bool) -> bool:
    try:
        reach(config)
    except HubUnavailableError:
        if allowed:
            return True
        raise
    return False


def _model_may_fall_back(config: ExperimentConfig, explicit: frozenset[str]) -> bool:
    may = config.model.offline_fallback is not None and _model_is_default(config.model, explicit)
    return may and not _wants_to_be_asked(config, explicit)


def _model_is_default(model: ModelConfig, explicit: frozenset[str]) -> bool:
    default = ModelConfig()
    return model.name == default.name and model.revision is None and "model.name" not in explicit


def _data_may_fall_back(data: DataConfig, explicit: frozenset[str]) -> bool:
    return data.offline_fallback is not None and not _data_are_chosen(data, explicit)


def _data_changes(data: DataConfig, explicit: frozenset[str]) -> dict[str, Any]:
    tuned = _tuned({"data": data.model_dump(mode="json")}, explicit, _DATA_KEYS)
    return {"data.dataset_name": data.offline_fallback, **tuned}


def _data_are_chosen(data: DataConfig, explicit: frozenset[str]) -> bool:
    default = DataConfig()
    chosen = (data.dataset_name, data.dataset_config) != (default.dataset_name, default.dataset_config)
    return chosen or data.revision is not None or "data.dataset_name" in explicit


def _data_are_own(data: DataConfig, explicit: frozenset[str]) -> bool:
    """Tell whether data were chosen that the starter model was not made for."""
    return data.dataset_name != STARTER and _data_are_chosen(data, explicit)


def _tuned(tree: dict[str, Any], explicit: frozenset[str], keys: tuple[str, ...]) -> dict[str, Any]:
    """Return the starter preset's values for keys that the user left at the schema's default."""
    tuned = flatten_tree(load_preset("starter").config.as_tree())
    default = flatten_tree(ExperimentConfig().as_tree())
    present = flatten_tree(tree)
    return {key: tuned[key] for key in keys if key not in explicit and present[key] == default[key]}
