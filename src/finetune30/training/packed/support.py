"""Whether the packed path can carry out an experiment; if not, why."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from finetune30.config import ExperimentConfig, LoraConfig
from finetune30.training.packed.base_weights import BaseWeights
from finetune30.training.packed.families import MODEL_TYPES, Family, Shape, find_family
from finetune30.training.packed.lora_plan import LoraPlan, UnsupportedPlanError, resolve_plan

if TYPE_CHECKING:
    from finetune30.modeling.base import BaseSource
    from finetune30.modeling.devices import Placement

_PRECISIONS = ("fp32", "bf16")


def supports(
    config: ExperimentConfig, source: BaseSource, placement: Placement, *, scores_tokens: bool = False
) -> str | None:
    """Return the reason why the packed path cannot run this experiment, or None when it can.

    `scores_tokens`: see `Trainable.scores_tokens`.
    """
    if placement.device != "cpu":
        return f"it is written for CPUs, and this run is on {placement.device}"
    if placement.precision not in _PRECISIONS:
        return f"precision {placement.precision} is not one of {', '.join(_PRECISIONS)}"
    if config.training.neftune_noise_alpha is not None:
        return "training.neftune_noise_alpha is set"
    if config.model.quantization is not None:
        return f"model.quantization is {config.model.quantization}"
    described = source.load_json("config.json")
    family = find_family(described)
    if family is None:
        return f"model type '{described.get('model_type')}' is not one of {', '.join(MODEL_TYPES)}"
    if family.scores_tokens != scores_tokens:
        kind = "a language model" if family.scores_tokens else "a classifier"
        return f"model type '{described['model_type']}' is trained as {kind} only"
    if scores_tokens and config.training.gradient_checkpointing:
        return "training.gradient_checkpointing is on"
    reason = family.refuse(source.load_config())
    if reason is not None:
        return reason
    shape = family.shape(source.load_config())
    if config.data.max_length > shape.usable_positions:
        return f"data.max_length {config.data.max_length} is above the model's {shape.usable_positions} positions"
    if shape.window is not None and config.data.max_length > shape.window:
        return f"attention looks back over {shape.window} tokens, and data.max_length is {config.data.max_length}"
    base = BaseWeights(source.folder, family.spellings)
    try:
        plan = plan_of(config.lora, family, shape, base)
    except UnsupportedPlanError as error:
        return str(error)
    return _missing_weights(family, shape, plan, base)


def plan_of(config: LoraConfig, family: Family[Any], shape: Shape, base: BaseWeights) -> LoraPlan:
    """Resolve the adapter; raises UnsupportedPlanError with the reason when the packed path cannot train it."""
    lacking = {linear.path for linear in family.linears(shape) if base.shape(f"{linear.path}.weight") is None}
    return resolve_plan(config, family, shape, lacking=lacking)


def _missing_weights(family: Family[Any], shape: Shape, plan: LoraPlan, base: BaseWeights) -> str | None:
    """Return which frozen weight the checkpoint lacks, or holds in another shape."""
    frozen = [linear.weights() for linear in family.linears(shape) if not plan.trains_whole(linear)]
    for weights in (family.other_weights(shape), *frozen):
        for name, wanted in weights.items():
            found = base.shape(name)
            if found is None:
                return f"the checkpoint lacks {name}"
            if found != wanted:
                return f"the checkpoint's {name} has shape {found}, not {wanted}"
    return None
