"""A configuration as the row of a run holds it, so that workers of the release before carry the run out too.

A package refuses keys that it does not know. A key that came with this release is therefore left out of the record
while it has its default, which does what was done before there was the key; only a run that uses it waits for a worker
that knows it.
"""

from __future__ import annotations

from typing import Any

from finetune30.config.chat import ChatConfig
from finetune30.config.schema import ExperimentConfig

#: Dotted keys that the release before does not know; emptied when the next one is begun.
NEW_KEYS: frozenset[str] = frozenset(
    {
        "training.processes",
        "training.class_weights",
        "training.label_smoothing",
        "training.temperature_scaling",
        "training.threshold_tuning",
        "training.abstention_risk",
        "training.gradient_checkpointing",
        "training.packing",
        "training.gpu_kernels",
        "training.neftune_noise_alpha",
        "model.quantization",
        "lora.loraplus_lr_ratio",
        "lora.trainable_token_indices",
        "data.conversation_format",
        "data.group_column",
        "data.split_seed",
        "data.test_split",
        "data.test_file",
        "data.test_fraction",
        *(f"chat.{key}" for key in ChatConfig.model_fields),
    }
)


def record_tree(config: ExperimentConfig) -> dict[str, Any]:
    """Return the tree for the record: plain dicts, lists and scalars, without the new keys that have their default."""
    tree = config.as_tree()
    default = ExperimentConfig().as_tree() if NEW_KEYS else {}
    for key in NEW_KEYS:
        *sections, leaf = key.split(".")
        part, plain = tree, default
        for section in sections:
            part, plain = part[section], plain[section]
        if part[leaf] == plain[leaf]:
            del part[leaf]
    new_sections = {key.partition(".")[0] for key in NEW_KEYS}
    return {name: part for name, part in tree.items() if part != {} or name not in new_sections}
