"""What the packed path must know of BERT, DistilBERT and RoBERTa: sizes, rates and names.

Names are those of the modules in transformers' sequence classifiers, because the saved adapter is keyed by them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from finetune30.modeling.families import BACKBONE_NAMES, ROBERTA_LIKE, skipped_positions

#: Roles of the linear layers of an encoder layer, in the order in which a forward pass meets them.
ROLES = ("query", "key", "value", "attention_output", "feed_forward_in", "feed_forward_out")

_BERT_MODULES = {
    "query": "attention.self.query",
    "key": "attention.self.key",
    "value": "attention.self.value",
    "attention_output": "attention.output.dense",
    "attention_norm": "attention.output.LayerNorm",
    "feed_forward_in": "intermediate.dense",
    "feed_forward_out": "output.dense",
    "output_norm": "output.LayerNorm",
}
_DISTILBERT_MODULES = {
    "query": "attention.q_lin",
    "key": "attention.k_lin",
    "value": "attention.v_lin",
    "attention_output": "attention.out_lin",
    "attention_norm": "sa_layer_norm",
    "feed_forward_in": "ffn.lin1",
    "feed_forward_out": "ffn.lin2",
    "output_norm": "output_layer_norm",
}
MODEL_TYPES = ("distilbert", "bert", *ROBERTA_LIKE)
ACTIVATIONS = ("gelu", "relu")


@dataclass(frozen=True)
class HeadFamily:
    """The classification head: dense, activation, dropout, output; `dense` and `output` are module names.

    RoBERTa drops out before the dense layer too. `dense_is_new` tells whether the dense layer belongs to the head
    (trained) or to the pre-trained backbone (BERT's pooler, frozen unless the checkpoint lacks it).
    """

    dense: str
    output: str
    activation: str
    dropout: float
    drops_input: bool
    dense_is_new: bool


@dataclass(frozen=True)
class EncoderFamily:
    """One concrete encoder; `prefix` is the backbone's name in the classifier ("bert")."""

    model_type: str
    prefix: str
    hidden_size: int
    layer_count: int
    head_count: int
    intermediate_size: int
    activation: str
    norm_epsilon: float
    hidden_dropout: float
    attention_dropout: float
    drops_attention_output: bool
    position_offset: int
    position_count: int
    type_count: int
    pad_token_id: int
    initializer_range: float
    layers_path: str
    modules: Mapping[str, str]
    head: HeadFamily

    def module_path(self, layer: int, role: str) -> str:
        """Return the name of a module of one layer in the sequence classifier."""
        return f"{self.prefix}.{self.layers_path}.{layer}.{self.modules[role]}"

    @property
    def embeddings_path(self) -> str:
        """Name of the embedding module in the sequence classifier."""
        return f"{self.prefix}.embeddings"


def describe_family(config: Mapping[str, Any]) -> EncoderFamily:
    """Read a transformers `config.json`; missing keys have transformers' defaults.

    Raises KeyError for a model type outside MODEL_TYPES: ask `unsupported_architecture` first.
    """
    model_type = config["model_type"]
    if model_type == "distilbert":
        return _distilbert(config)
    if model_type in MODEL_TYPES:
        return _bert_like(config)
    raise KeyError(model_type)


def unsupported_architecture(config: Mapping[str, Any]) -> str | None:
    """Return why the packed path cannot run this architecture, or None when it can."""
    model_type = config.get("model_type")
    if model_type not in MODEL_TYPES:
        return f"model type '{model_type}' is not one of {', '.join(MODEL_TYPES)}"
    activation = config.get("activation" if model_type == "distilbert" else "hidden_act", "gelu")
    if activation not in ACTIVATIONS:
        return f"activation '{activation}' is not one of {', '.join(ACTIVATIONS)}"
    position_type = config.get("position_embedding_type", "absolute")
    if position_type not in ("absolute", None):
        return f"position embeddings of type '{position_type}'"
    for key in ("is_decoder", "add_cross_attention", "quantization_config", "pruned_heads"):
        if config.get(key):
            return f"the model's configuration sets {key}"
    return None


def _distilbert(config: Mapping[str, Any]) -> EncoderFamily:
    hidden_dropout = float(config.get("dropout", 0.1))
    return EncoderFamily(
        model_type="distilbert",
        prefix=BACKBONE_NAMES["distilbert"],
        hidden_size=int(config.get("dim", 768)),
        layer_count=int(config.get("n_layers", 6)),
        head_count=int(config.get("n_heads", 12)),
        intermediate_size=int(config.get("hidden_dim", 3072)),
        activation=str(config.get("activation", "gelu")),
        norm_epsilon=1e-12,
        hidden_dropout=hidden_dropout,
        attention_dropout=float(config.get("attention_dropout", 0.1)),
        drops_attention_output=False,
        position_offset=0,
        position_count=int(config.get("max_position_embeddings", 512)),
        type_count=0,
        pad_token_id=int(config.get("pad_token_id") or 0),
        initializer_range=float(config.get("initializer_range", 0.02)),
        layers_path="transformer.layer",
        modules=_DISTILBERT_MODULES,
        head=HeadFamily(
            dense="pre_classifier",
            output="classifier",
            activation="relu",
            dropout=float(config.get("seq_classif_dropout", 0.2)),
            drops_input=False,
            dense_is_new=True,
        ),
    )


def _bert_like(config: Mapping[str, Any]) -> EncoderFamily:
    model_type = str(config["model_type"])
    is_roberta = model_type in ROBERTA_LIKE
    hidden_dropout = float(config.get("hidden_dropout_prob", 0.1))
    head_dropout = config.get("classifier_dropout")
    pad_token_id = int(config.get("pad_token_id", 1 if is_roberta else 0) or 0)
    return EncoderFamily(
        model_type=model_type,
        prefix=BACKBONE_NAMES[model_type],
        hidden_size=int(config.get("hidden_size", 768)),
        layer_count=int(config.get("num_hidden_layers", 12)),
        head_count=int(config.get("num_attention_heads", 12)),
        intermediate_size=int(config.get("intermediate_size", 3072)),
        activation=str(config.get("hidden_act", "gelu")),
        norm_epsilon=float(config.get("layer_norm_eps", 1e-12)),
        hidden_dropout=hidden_dropout,
        attention_dropout=float(config.get("attention_probs_dropout_prob", 0.1)),
        drops_attention_output=True,
        position_offset=skipped_positions(model_type, pad_token_id),
        position_count=int(config.get("max_position_embeddings", 512)),
        type_count=int(config.get("type_vocab_size", 2)),
        pad_token_id=pad_token_id,
        initializer_range=float(config.get("initializer_range", 0.02)),
        layers_path="encoder.layer",
        modules=_BERT_MODULES,
        head=HeadFamily(
            dense="classifier.dense" if is_roberta else "bert.pooler.dense",
            output="classifier.out_proj" if is_roberta else "classifier",
            activation="tanh",
            dropout=float(hidden_dropout if head_dropout is None else head_dropout),
            drops_input=is_roberta,
            dense_is_new=is_roberta,
        ),
    )
