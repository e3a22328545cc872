"""YAML to a frozen, validated ExperimentConfig."""

from finetune30.config.data import DataConfig
from finetune30.config.lora import LoraConfig
from finetune30.config.schema import (
    OWN_MODELS,
    STARTER,
    STARTER_CHAT,
    STARTER_ZH,
    VERSION_PREFIX,
    ExperimentConfig,
    ModelConfig,
    TrainingConfig,
)
from finetune30.config.validation import ValidationRules

__all__ = [
    "OWN_MODELS",
    "STARTER",
    "STARTER_CHAT",
    "STARTER_ZH",
    "VERSION_PREFIX",
    "DataConfig",
    "ExperimentConfig",
    "LoraConfig",
    "ModelConfig",
    "TrainingConfig",
    "ValidationRules",
]
