"""What a base model is, asked of the model or its loaded configuration: head, positions, vocabulary, precision.

A model on the meta device can be asked too, and costs neither memory nor reading weights. Names are a last resort:
`modeling.families`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetune30.errors import ModelError, first_line
from finetune30.modeling.families import HEAD_NAMES
from finetune30.modeling.model_files import COPY_AGAIN
from finetune30.modeling.quiet import quiet_transformers

if TYPE_CHECKING:
    import torch
    from torch import nn
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase


def load_config(folder: Path, name: str) -> PretrainedConfig:
    """Load a model's configuration: what its file leaves out has the default that the model is built with."""
    from transformers import AutoConfig

    try:
        config: PretrainedConfig = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(
            f"the configuration of model '{name}' cannot be read: {first_line(error)}",
            COPY_AGAIN,
        ) from error
    return config


def outline_classifier(config: PretrainedConfig, dtype: torch.dtype | None = None) -> PreTrainedModel:
    """Build a classifier of this configuration without weights, to be asked. Raises ModelError where there is none."""
    import torch
    from transformers import AutoModelForSequenceClassification

    try:
        with quiet_transformers(), torch.device("meta"):
            model: PreTrainedModel = AutoModelForSequenceClassification.from_config(
                config, dtype=dtype or torch.float32, trust_remote_code=False
            )
    except (ValueError, KeyError, RuntimeError, TypeError, ImportError) as error:
        raise ModelError(
            f"model type '{config.model_type}' has no classifier that could be built: {first_line(error)}",
            "choose a model that AutoModelForSequenceClassification supports",
        ) from error
    return model


def outline_causal(config: PretrainedConfig) -> PreTrainedModel:
    """Build a language model of this configuration without weights, to be asked. Raises ModelError."""
    import torch
    from transformers import AutoModelForCausalLM

    try:
        with quiet_transformers(), torch.device("meta"):
            model: PreTrainedModel = AutoModelForCausalLM.from_config(
                config, dtype=torch.float32, trust_remote_code=False
            )
    except (ValueError, KeyError, RuntimeError, TypeError, ImportError) as error:
        raise ModelError(
            f"model type '{config.model_type}' is no language model that could be built: {first_line(error)}",
            "choose a causal language model, which AutoModelForCausalLM supports",
        ) from error
    return model


def outline_backbone(config: PretrainedConfig) -> PreTrainedModel:
    """Build a model of this configuration without head and weights, to be asked. Raises ModelError."""
    import torch
    from transformers import AutoModel

    try:
        with quiet_transformers(), torch.device("meta"):
            model: PreTrainedModel = AutoModel.from_config(config, dtype=torch.float32, trust_remote_code=False)
    except (ValueError, KeyError, RuntimeError, TypeError, ImportError) as error:
        raise ModelError(
            f"model type '{config.model_type}' cannot be built: {first_line(error)}",
            "choose a model that transformers supports",
        ) from error
    return model


def head_modules(model: PreTrainedModel) -> list[str]:
    """Return the names of all modules with weights that stand beside the backbone, in order: what makes the head."""
    backbone = model.base_model_prefix
    if not hasattr(model, backbone):  # a model that does not tell where its backbone is
        return sorted(name for name, _ in model.named_children() if name in HEAD_NAMES)
    return sorted(
        name
        for name, module in model.named_children()
        if name != backbone and next(module.parameters(), None) is not None
    )


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
    for path, module in model.named_modules():
        leaf = path.rpartition(".")[2]
        if not ("position" in leaf or leaf == "wpe") or "relative" in leaf:
            continue
        rows = getattr(module, "num_embeddings", None)
        if isinstance(rows, int):
            yield rows - _first_position(module)


def _first_position(table: nn.Module) -> int:
    offset = getattr(table, "offset", None)  # BART's descendants shift their positions by two
    padding = getattr(table, "padding_idx", None)  # RoBERTa's count them from the padding token on
    if isinstance(offset, int):
        return offset
    return padding + 1 if isinstance(padding, int) else 0


def reads_token_types(config: PretrainedConfig) -> bool:
    """Return whether a model with this loaded configuration tells the texts of a pair apart by token types."""
    return (getattr(config, "type_vocab_size", 0) or 0) > 1


def count_tokens_known(model: PreTrainedModel) -> int:
    """Return how many tokens the model has embeddings for: the rows of the matrix that it looks tokens up in."""
    embeddings: Any = model.get_input_embeddings()
    return int(embeddings.weight.shape[0])


def count_tokens_configured(config: PretrainedConfig) -> int | None:
    """Return the same by a loaded configuration, None where it does not say."""
    rows = getattr(config.get_text_config(), "vocab_size", None)
    return rows if isinstance(rows, int) else None


def pools_the_last_place(model: nn.Module) -> bool:
    """Return whether the head reads whatever stands last, padding too (XLNet), so that texts must end there."""
    return any(getattr(module, "summary_type", None) == "last" for module in model.modules())


def mixes_neighbours(model: nn.Module) -> bool:
    """Return whether layers convolve over places of a text, which no attention mask keeps from the padding behind it.

    What such a model (ConvBERT) makes of a text depends on how far it is padded, up to half a kernel from its end.
    """
    from torch import nn

    return any(isinstance(module, nn.Conv1d) and module.kernel_size[0] > 1 for module in model.modules())


def choose_padding(tokenizer: PreTrainedTokenizerBase, config: PretrainedConfig) -> str | None:
    """Return a padding token that the model has an embedding for; None where the tokenizer has none that would do.

    Its own one, else its end token, else what else stands for no word.
    """
    rows = count_tokens_configured(config)
    special = (tokenizer.pad_token, tokenizer.eos_token, tokenizer.sep_token, tokenizer.unk_token)
    for token in special:
        number: Any = None if token is None else tokenizer.convert_tokens_to_ids(token)
        if number is not None and (rows is None or number < rows):
            return str(token)
    return None


def parameters_kept_whole(model: PreTrainedModel, dtype: torch.dtype) -> set[str]:
    """Return the parameters that stay float32 in a model of this class that is loaded in `dtype`, by name."""
    import torch

    if dtype == torch.float32:
        return set()
    with quiet_transformers(), torch.device("meta"):
        outline = type(model)._from_config(model.config, dtype=dtype)
    return {name for name, weight in outline.named_parameters() if weight.dtype != dtype}
