"""The model families of the packed path, one file each; a new one is a file and its line in `FAMILIES`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from finetune30.training.packed.families.bert import Bert
from finetune30.training.packed.families.decoders import Llama, Mistral, Qwen2, Qwen3
from finetune30.training.packed.families.distilbert import DistilBert
from finetune30.training.packed.families.family import Family, Linear, Shape
from finetune30.training.packed.families.roberta import Roberta

FAMILIES: tuple[Family[Any], ...] = (DistilBert(), Bert(), Roberta(), Llama(), Mistral(), Qwen2(), Qwen3())
MODEL_TYPES = tuple(model_type for family in FAMILIES for model_type in family.model_types)

__all__ = ["FAMILIES", "MODEL_TYPES", "Family", "Linear", "Shape", "find_family"]


def find_family(config: Mapping[str, Any]) -> Family[Any] | None:
    """Return the family of a transformers `config.json`, or None when the packed path has none of its type."""
    return next((family for family in FAMILIES if config.get("model_type") in family.model_types), None)
