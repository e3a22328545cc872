"""What a base model is: its backbone and head, its positions, token types and vocabulary, its attention's layers.

The model or its loaded configuration is asked; a model on the meta device has no weights, so asking it costs no memory.
Names are listed once, below, for those who must answer before torch and transformers are imported (the packed path and
the estimate read config.json alone). Nothing heavy is imported at the top.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetune30.errors import ModelError

if TYPE_CHECKING:
    import torch
    from torch import nn
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

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

    A file that names no labels means transformers' default, two.
    """
    if not any(str(name).endswith("ForSequenceClassification") for name in config.get("architectures") or ()):
        return ()
    named = config.get("id2label") or {0: "LABEL_0", 1: "LABEL_1"}
    return tuple(str(name) for _, name in sorted(named.items(), key=lambda entry: int(entry[0])))


def order_by_head(names: tuple[str, ...], head: tuple[str, ...]) -> tuple[str, ...] | None:
    """Return `names` in the order of a head that has the same ones (in any case of letters), None for another head."""
    by_folded = {name.casefold(): name for name in names}
    folded = [name.casefold() for name in head]
    if len(by_folded) != len(names) or len(set(folded)) != len(folded) or by_folded.keys() != set(folded):
        return None
    return tuple(by_folded[name] for name in folded)


def load_config(folder: Path, name: str) -> PretrainedConfig:
    """Load a model's configuration: what its file leaves out has the default that the model is built with."""
    from transformers import AutoConfig

    try:
        config: PretrainedConfig = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
        raise ModelError(
            f"the configuration of model '{name}' cannot be read: {reason}", "download or copy the model again"
        ) from error
    return config


def outline_classifier(config: PretrainedConfig, dtype: torch.dtype | None = None) -> PreTrainedModel:
    """Build a classifier of this configuration without weights, to be asked. Raises ModelError where there is none."""
    import torch
    from transformers import AutoModelForSequenceClassification

    try:
        with torch.device("meta"):
            model: PreTrainedModel = AutoModelForSequenceClassification.from_config(
                config, dtype=dtype or torch.float32, trust_remote_code=False
            )
    except (ValueError, KeyError, RuntimeError, TypeError, ImportError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
        raise ModelError(
            f"model type '{config.model_type}' has no classifier that could be built: {reason}",
            "choose a model that AutoModelForSequenceClassification supports",
        ) from error
    return model


def head_modules(model: PreTrainedModel) -> list[str]:
    """Return the names of all modules with weights that stand beside the backbone: what makes the head."""
    backbone = model.base_model_prefix
    if not hasattr(model, backbone):  # a model that does not tell where its backbone is
        return [name for name, _ in model.named_children() if name in HEAD_NAMES]
    return [
        name
        for name, module in model.named_children()
        if name != backbone and next(module.parameters(), None) is not None
    ]


def owner_of(weight: str, model: PreTrainedModel) -> str:
    """Return the module with which a new weight is saved.

    A weight within the backbone ("bert.pooler.dense.weight") goes with its own part ("pooler"), not with the whole
    backbone, nor under a name like "dense" that half of the backbone bears.
    """
    first, *rest = weight.split(".")
    return rest[0] if first == model.base_model_prefix else first


def count_positions(model: PreTrainedModel) -> int | None:
    """Return how many tokens of one text the model has positions for; None where nothing limits them.

    Positions that are learnt (or stored) in a table end with it, and those before a text's first one are never used.
    Rotary ones could be computed on, but were trained up to the configuration's number. Relative ones have no end.
    """
    limit = getattr(model.config, "max_position_embeddings", None)
    tables = list(_position_tables(model))
    rotates = any(name.rpartition(".")[2].endswith("inv_freq") for name, _ in model.named_buffers())
    if not tables and not rotates:
        return None
    return min([*tables, *([limit] if isinstance(limit, int) and limit > 0 else [])], default=None)


def _position_tables(model: PreTrainedModel) -> Iterator[int]:
    """Yield how many positions each table of absolute positions has for texts."""
    from torch import nn

    for path, module in model.named_modules():
        leaf = path.rpartition(".")[2]
        if isinstance(module, nn.Embedding) and ("position" in leaf or leaf == "wpe") and "relative" not in leaf:
            yield module.num_embeddings - _first_position(module)


def _first_position(table: nn.Embedding) -> int:
    offset = getattr(table, "offset", None)  # BART's descendants shift their positions by two
    if isinstance(offset, int):
        return offset
    return 0 if table.padding_idx is None else table.padding_idx + 1


def reads_token_types(config: PretrainedConfig) -> bool:
    """Return whether a model with this loaded configuration tells the texts of a pair apart by token types."""
    return (getattr(config, "type_vocab_size", 0) or 0) > 1


def count_tokens_known(model: PreTrainedModel) -> int:
    """Return how many tokens the model has embeddings for: the rows of the matrix that it looks tokens up in."""
    embeddings: Any = model.get_input_embeddings()
    return int(embeddings.weight.shape[0])


def pools_the_last_place(model: nn.Module) -> bool:
    """Return whether the head reads whatever stands last, padding too (XLNet), so that texts must end there."""
    return any(getattr(module, "summary_type", None) == "last" for module in model.modules())


def parameters_kept_whole(config: PretrainedConfig, dtype: torch.dtype) -> set[str]:
    """Return the parameters that stay float32 in a classifier that is loaded in `dtype`, by name."""
    import torch

    if dtype == torch.float32:
        return set()
    return {name for name, weight in outline_classifier(config, dtype).named_parameters() if weight.dtype != dtype}


def choose_padding(tokenizer: PreTrainedTokenizerBase, config: PretrainedConfig) -> str | None:
    """Return a padding token that the model has an embedding for; None where the tokenizer has none that would do.

    Its own one, else its end token, else what else stands for no word.
    """
    rows = getattr(config.get_text_config(), "vocab_size", None)
    special = (tokenizer.pad_token, tokenizer.eos_token, tokenizer.sep_token, tokenizer.unk_token)
    for token in special:
        number: Any = None if token is None else tokenizer.convert_tokens_to_ids(token)
        if number is not None and (rows is None or number < rows):
            return str(token)
    return None
