"""RoBERTa (Liu et al. 2019) and what has its architecture: BERT with other positions and a new head."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from finetune30.modeling.families import BACKBONE_NAMES, ROBERTA_LIKE, skipped_positions
from finetune30.training.packed.families.bert import ATTENTION_NORM, LINEARS, OUTPUT_NORM, read_shape
from finetune30.training.packed.families.encoder_assembly import assemble_encoder, assemble_head
from finetune30.training.packed.families.encoder_names import EncoderNames
from finetune30.training.packed.families.encoders import NamedEncoder
from finetune30.training.packed.families.family import EncoderShape
from finetune30.training.packed.model import PackedModel

if TYPE_CHECKING:
    from finetune30.training.packed.building import Builder


class Roberta(NamedEncoder):
    """See `Family`."""

    model_types: tuple[str, ...] = ROBERTA_LIKE
    saved_modules: tuple[str, ...] = ("classifier",)
    savable_modules: tuple[str, ...] = ()
    names = EncoderNames(
        prefix=BACKBONE_NAMES["roberta"],
        layers="encoder.layer",
        linears=LINEARS,
        attention_norm=ATTENTION_NORM,
        output_norm=OUTPUT_NORM,
        dense="classifier.dense",
        output="classifier.out_proj",
    )

    def shape(self, config: Mapping[str, Any], outputs: int = 1) -> EncoderShape:
        """See `Family.shape`."""
        shape = read_shape(config, outputs, vocabulary_size=50265, pad_token_id=1)
        return replace(shape, position_offset=skipped_positions(str(config["model_type"]), shape.pad_token_id))

    def assemble(self, shape: EncoderShape, build: Builder) -> PackedModel:
        """See `Family.assemble`."""
        encoder = assemble_encoder(self.names, shape, build)
        return build.model(encoder, assemble_head(self.names, shape, build, activation="tanh", drops_input=True))
