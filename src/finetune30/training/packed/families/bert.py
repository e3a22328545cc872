"""BERT (Devlin et al. 2019): the head's dense layer is the pre-trained pooler."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from finetune30.modeling.families import BACKBONE_NAMES
from finetune30.training.packed.families.encoder_assembly import assemble_encoder, assemble_head
from finetune30.training.packed.families.encoder_names import EncoderNames
from finetune30.training.packed.families.encoders import NamedEncoder
from finetune30.training.packed.families.family import EncoderShape
from finetune30.training.packed.model import PackedModel

if TYPE_CHECKING:
    from finetune30.training.packed.building import Builder

#: Linear layers of a layer by role, in the order in which a forward pass meets them; RoBERTa has the same.
LINEARS = {
    "query": "attention.self.query",
    "key": "attention.self.key",
    "value": "attention.self.value",
    "attention_output": "attention.output.dense",
    "feed_forward_in": "intermediate.dense",
    "feed_forward_out": "output.dense",
}
ATTENTION_NORM, OUTPUT_NORM = "attention.output.LayerNorm", "output.LayerNorm"


class Bert(NamedEncoder):
    """See `Family`."""

    model_types: tuple[str, ...] = ("bert",)
    saved_modules: tuple[str, ...] = ("classifier",)
    savable_modules: tuple[str, ...] = ("pooler",)
    names = EncoderNames(
        prefix=BACKBONE_NAMES["bert"],
        layers="encoder.layer",
        linears=LINEARS,
        attention_norm=ATTENTION_NORM,
        output_norm=OUTPUT_NORM,
        dense="bert.pooler.dense",
        output="classifier",
    )

    def shape(self, config: Mapping[str, Any], outputs: int = 1) -> EncoderShape:
        """See `Family.shape`."""
        return read_shape(config, outputs, vocabulary_size=30522, pad_token_id=0)

    def assemble(self, shape: EncoderShape, build: Builder) -> PackedModel:
        """See `Family.assemble`."""
        encoder = assemble_encoder(self.names, shape, build)
        return build.model(encoder, assemble_head(self.names, shape, build, activation="tanh"))


def read_shape(config: Mapping[str, Any], outputs: int, *, vocabulary_size: int, pad_token_id: int) -> EncoderShape:
    """Read a configuration in BERT's words; `vocabulary_size` and `pad_token_id` are the family's defaults."""
    hidden_dropout = float(config.get("hidden_dropout_prob", 0.1))
    head_dropout = config.get("classifier_dropout")
    return EncoderShape(
        layer_count=int(config.get("num_hidden_layers", 12)),
        hidden_size=int(config.get("hidden_size", 768)),
        head_count=int(config.get("num_attention_heads", 12)),
        intermediate_size=int(config.get("intermediate_size", 3072)),
        vocabulary_size=int(config.get("vocab_size", vocabulary_size)),
        position_count=int(config.get("max_position_embeddings", 512)),
        position_offset=0,
        type_count=int(config.get("type_vocab_size", 2)),
        outputs=outputs,
        activation=str(config.get("hidden_act", "gelu")),
        norm_epsilon=float(config.get("layer_norm_eps", 1e-12)),
        hidden_dropout=hidden_dropout,
        attention_dropout=float(config.get("attention_probs_dropout_prob", 0.1)),
        head_dropout=float(hidden_dropout if head_dropout is None else head_dropout),
        initializer_range=float(config.get("initializer_range", 0.02)),
        pad_token_id=int(config.get("pad_token_id", pad_token_id) or 0),
    )
