"""DistilBERT (Sanh et al. 2019): BERT without token types and pooler, in half as many layers."""

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


class DistilBert(NamedEncoder):
    """See `Family`."""

    model_types: tuple[str, ...] = ("distilbert",)
    saved_modules: tuple[str, ...] = ("classifier", "pre_classifier")
    savable_modules: tuple[str, ...] = ()
    activation_key = "activation"
    names = EncoderNames(
        prefix=BACKBONE_NAMES["distilbert"],
        layers="transformer.layer",
        linears={
            "query": "attention.q_lin",
            "key": "attention.k_lin",
            "value": "attention.v_lin",
            "attention_output": "attention.out_lin",
            "feed_forward_in": "ffn.lin1",
            "feed_forward_out": "ffn.lin2",
        },
        attention_norm="sa_layer_norm",
        output_norm="output_layer_norm",
        dense="pre_classifier",
        output="classifier",
    )

    def shape(self, config: Mapping[str, Any], outputs: int = 1) -> EncoderShape:
        """See `Family.shape`."""
        return EncoderShape(
            layer_count=int(config.get("n_layers", 6)),
            hidden_size=int(config.get("dim", 768)),
            head_count=int(config.get("n_heads", 12)),
            intermediate_size=int(config.get("hidden_dim", 3072)),
            vocabulary_size=int(config.get("vocab_size", 30522)),
            position_count=int(config.get("max_position_embeddings", 512)),
            position_offset=0,
            type_count=0,
            outputs=outputs,
            activation=str(config.get("activation", "gelu")),
            norm_epsilon=1e-12,
            hidden_dropout=float(config.get("dropout", 0.1)),
            attention_dropout=float(config.get("attention_dropout", 0.1)),
            head_dropout=float(config.get("seq_classif_dropout", 0.2)),
            initializer_range=float(config.get("initializer_range", 0.02)),
            pad_token_id=int(config.get("pad_token_id") or 0),
        )

    def assemble(self, shape: EncoderShape, build: Builder) -> PackedModel:
        """See `Family.assemble`."""
        encoder = assemble_encoder(self.names, shape, build, drops_attention_output=False)
        return build.model(encoder, assemble_head(self.names, shape, build, activation="relu"))
