"""What a base model is, by names and by config.json alone: the one place where names of families are listed.

It is for those who must answer without torch and transformers (the packed path, the estimate), and what a checkpoint
says about itself. Wherever there is a model, or its loaded configuration, it is asked instead: `modeling.model_facts`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

#: RoBERTa and what is built like it: positions are counted from the padding token on, the head has a dense layer.
ROBERTA_LIKE = ("roberta", "xlm-roberta", "camembert")
#: Decoders whose classifier is one matrix, `score`, without a bias.
SCORED_DECODERS = ("llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "phi3")
#: What the module of the backbone is called in a classifier, by model type.
BACKBONE_NAMES = {
    "bert": "bert",
    "distilbert": "distilbert",
    **dict.fromkeys(ROBERTA_LIKE, "roberta"),
    **dict.fromkeys(SCORED_DECODERS, "model"),
}
#: What the parts of a classifier's head are called; the model itself is asked wherever there is one.
HEAD_NAMES = ("classifier", "score", "pre_classifier", "classification_head", "sequence_summary", "logits_proj")
#: What attention calls the layers that make queries and values, in the order in which they are looked for.
QUERY_AND_VALUE = (
    ("query", "value"),
    ("q_lin", "v_lin"),
    ("q_proj", "v_proj"),
    ("query_proj", "value_proj"),
    ("q", "v"),
)


def query_and_value(names: Collection[str]) -> tuple[str, str] | None:
    """Return the names of the layers that make queries and values among the last parts of paths, None without them."""
    return next((pair for pair in QUERY_AND_VALUE if set(pair) <= set(names)), None)


def skipped_positions(model_type: str, pad_token_id: int) -> int:
    """Return how many positions lie before a text's first one, by model type (fairseq's make_positions)."""
    return pad_token_id + 1 if model_type in ROBERTA_LIKE else 0


def describe_quantization(config: Mapping[str, Any]) -> str | None:
    """Return how the weights beside a config.json are quantised ("bitsandbytes"), None where they are whole."""
    described = config.get("quantization_config") or config.get("compression_config")
    if not described:
        return None
    method = described.get("quant_method") if isinstance(described, Mapping) else None
    return str(method or "an unnamed method")


def head_labels(config: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the labels of the head that a checkpoint has, by its config.json; `()` where it has none.

    A file that names no labels means transformers' defaults: two, LABEL_0 and LABEL_1.
    """
    if not any(str(name).endswith("ForSequenceClassification") for name in config.get("architectures") or ()):
        return ()
    named = config.get("id2label") or {i: f"LABEL_{i}" for i in range(config.get("num_labels") or 2)}
    if not all(str(place).isdigit() for place in named):
        return ()
    return tuple(str(name) for _, name in sorted(named.items(), key=lambda entry: int(entry[0])))


def left_out_labels(config: Mapping[str, Any], outputs: int | None) -> tuple[str, ...]:
    """Return the labels of a checkpoint's head that a head of so many outputs cannot take over.

    `()` where it is taken over, there is none, or (None) no head is meant.
    """
    labels = head_labels(config)
    return () if outputs in (None, len(labels)) else labels


def order_by_head(names: tuple[str, ...], head: tuple[str, ...]) -> tuple[str, ...] | None:
    """Return `names` in the order of a head that has the same ones (in any case of letters), None for another head."""
    if sorted(names) == sorted(head):
        return head
    by_folded = {name.casefold(): name for name in names}
    folded = [name.casefold() for name in head]
    if len(by_folded) != len(names) or len(set(folded)) != len(folded) or by_folded.keys() != set(folded):
        return None
    return tuple(by_folded[name] for name in folded)
