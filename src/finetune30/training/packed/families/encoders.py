"""What BERT and its descendants have in common."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from finetune30.training.packed.families.encoder_names import (
    EncoderNames,
    encoder_linears,
    encoder_spellings,
    encoder_weights,
    head_linears,
)
from finetune30.training.packed.families.family import EncoderShape, Linear
from finetune30.training.packed.parts.activation import ACTIVATIONS

_UNKNOWN_SWITCHES = ("is_decoder", "add_cross_attention", "quantization_config", "pruned_heads")


class NamedEncoder:
    """The part of `Family` that follows from the names of an encoder's modules."""

    scores_tokens = False
    names: EncoderNames
    #: What its configuration calls the activation.
    activation_key = "hidden_act"

    def refuse(self, config: Mapping[str, Any]) -> str | None:
        """See `Family.refuse`."""
        activation = config.get(self.activation_key, "gelu")
        if activation not in ACTIVATIONS:
            return f"activation '{activation}' is not one of {', '.join(ACTIVATIONS)}"
        position_type = config.get("position_embedding_type", "absolute")
        if position_type not in ("absolute", None):
            return f"position embeddings of type '{position_type}'"
        for key in _UNKNOWN_SWITCHES:
            if config.get(key):
                return f"the model's configuration sets {key}"
        return None

    def linears(self, shape: EncoderShape) -> list[Linear]:
        """See `Family.linears`."""
        return [*encoder_linears(self.names, shape), *head_linears(self.names, shape)]

    def other_weights(self, shape: EncoderShape) -> dict[str, tuple[int, ...]]:
        """See `Family.other_weights`."""
        return encoder_weights(self.names, shape)

    def spellings(self, name: str) -> Iterator[str]:
        """See `Family.spellings`."""
        return encoder_spellings(self.names, name)
