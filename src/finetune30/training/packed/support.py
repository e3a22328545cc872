"""Whether the packed path can carry out an experiment; if not, why."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from finetune30.config import ExperimentConfig
from finetune30.training.packed.base_weights import BaseWeights, backbone_shapes
from finetune30.training.packed.family import EncoderFamily, describe_family, unsupported_architecture
from finetune30.training.packed.lora_plan import LoraPlan, UnsupportedPlanError, resolve_plan

if TYPE_CHECKING:
    from finetune30.modeling.base import BaseSource
    from finetune30.modeling.devices import Placement

_PRECISIONS = ("fp32", "bf16")


def supports(config: ExperimentConfig, source: BaseSource, placement: Placement) -> str | None:
    """Return the reason why the packed path cannot run this experiment, or None when it can."""
    if placement.device != "cpu":
        return f"it is written for CPUs, and this run is on {placement.device}"
    if placement.precision not in _PRECISIONS:
        return f"precision {placement.precision} is not one of {', '.join(_PRECISIONS)}"
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        return "it runs in one process, and this run has several"
    reason = unsupported_architecture(source.load_json("config.json"))
    if reason is not None:
        return reason
    family = describe_family(source.load_config())
    usable_positions = family.position_count - family.position_offset
    if config.data.max_length > usable_positions:
        return f"data.max_length {config.data.max_length} is above the model's {usable_positions} positions"
    base = BaseWeights(source.folder, family)
    reason = _missing_weights(base, family, int(source.load_config()["vocab_size"]))
    if reason is not None:
        return reason
    try:
        plan_of(config, family, base)
    except UnsupportedPlanError as error:
        return str(error)
    return None


def plan_of(config: ExperimentConfig, family: EncoderFamily, base: BaseWeights) -> LoraPlan:
    """Resolve the adapter; raises UnsupportedPlanError with the reason when the packed path cannot train it."""
    dense = family.head.dense
    pooler_is_new = not family.head.dense_is_new and base.shape(f"{dense}.weight") is None
    return resolve_plan(config.lora, family, pooler_is_new=pooler_is_new)


def _missing_weights(base: BaseWeights, family: EncoderFamily, vocabulary: int) -> str | None:
    for name, wanted in backbone_shapes(family).items():
        found = base.shape(name)
        if found != wanted:
            return f"the checkpoint's {name} has shape {found}, not {wanted}"
    words = f"{family.embeddings_path}.word_embeddings.weight"
    found = base.shape(words)
    if found is None:
        return f"the checkpoint lacks {words}"
    wanted = (vocabulary, family.hidden_size)
    return None if found == wanted else f"the checkpoint's {words} has shape {found}, not {wanted}"
