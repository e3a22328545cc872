"""Defaults of language models, where only the rows told that they are conversations."""

from __future__ import annotations

from typing import Any

from finetune30.config.data import DataConfig
from finetune30.config.problem_types import AUTO, CAUSAL_LM
from finetune30.config.schema import CONVERSATION_LENGTH, ExperimentConfig

_MODULES, _LENGTH = "lora.target_modules", "data.max_length"


def follow_conversations(
    config: ExperimentConfig, problem_type: str, explicit: frozenset[str]
) -> tuple[ExperimentConfig, dict[str, Any]]:
    """Return a configuration with the defaults of the problem that its rows turned out to be, and what changed by key.

    As with `model.problem_type` causal_lm from the start; `explicit` are dotted keys that were given by hand. Nothing
    changes for other problems, nor where the problem was named.
    """
    if config.model.problem_type != AUTO or problem_type != CAUSAL_LM:
        return config, {}
    tree = config.as_tree()
    changed: dict[str, Any] = {}
    if config.lora.target_modules == "auto" and _MODULES not in explicit:
        tree["lora"]["target_modules"] = changed[_MODULES] = "all-linear"
    if config.data.max_length == DataConfig().max_length and _LENGTH not in explicit:
        tree["data"]["max_length"] = changed[_LENGTH] = CONVERSATION_LENGTH
    tree["model"]["problem_type"] = CAUSAL_LM
    return ExperimentConfig.model_validate(tree), changed
