"""What may be trained of a model's embeddings, above all where its language head shares their weights (tied)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from finetune30.config import LoraConfig
from finetune30.errors import ModelError
from finetune30.modeling.model_facts import count_tokens_known
from finetune30.modeling.names import is_named, is_within

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def find_tied(model: PreTrainedModel) -> list[str]:
    """Return the paths of embeddings and head where they share their weights, nothing where they do not."""
    embeddings: Any = model.get_input_embeddings()
    head: Any = model.get_output_embeddings()
    if head is None or getattr(head, "weight", None) is not embeddings.weight:
        return []
    return [path for path, module in model.named_modules() if module is embeddings or module is head]


def trains_tied(model: PreTrainedModel, targets: Sequence[str], saved: Sequence[str]) -> bool:
    """Return whether tied embeddings are among the modules that are trained whole, so that they must stay tied.

    LoRA on one of them is refused (ModelError): merged into the weights, it would change the other too. Unlike a module
    that is saved whole, PEFT 0.21 cannot tie it.
    """
    tied = find_tied(model)
    if wrong := [path for path in tied if is_named(path, targets) and not is_within(path, saved)]:
        (other,) = [path for path in tied if path != wrong[0]]
        raise ModelError(
            f"lora.target_modules: '{wrong[0]}' shares its weights with '{other}' in this model (tied embeddings): "
            "LoRA on it would change the other too once it is merged",
            "leave it out; to train embeddings and head name embed_tokens in lora.modules_to_save, to train those of "
            "some tokens name their ids in lora.trainable_token_indices",
        )
    within = [path for path in tied if is_within(path, saved)]
    if hidden := [path for path in within if not is_named(path, saved)]:
        raise ModelError(
            f"lora.modules_to_save: '{hidden[0]}', which shares its weights with another module (tied embeddings), "
            "lies within a module that is trained whole",
            f"name {hidden[0]} and the other parts themselves",
        )
    return bool(within)


def choose_tokens(
    model: PreTrainedModel, config: LoraConfig, targets: Sequence[str], saved: Sequence[str]
) -> list[int] | None:
    """Return the ids of the tokens whose embeddings are trained, checked; None where there are none.

    Raises ModelError for tokens without an embedding, and where all embeddings are trained anyway.
    """
    ids = config.trainable_token_indices
    if ids is None:
        return None
    rows = count_tokens_known(model)
    if unknown := [token for token in ids if token >= rows]:
        raise ModelError(
            f"lora.trainable_token_indices: {unknown[0]} is no token of this model, which has embeddings for {rows:,}",
            f"name ids from 0 to {rows - 1}; a token that only the tokenizer has needs an embedding first "
            "(resize_token_embeddings of transformers, then save_pretrained)",
        )
    path = next(name for name, module in model.named_modules() if module is model.get_input_embeddings())
    if is_named(path, targets) or is_within(path, saved) or any(is_within(tied, saved) for tied in find_tied(model)):
        raise ModelError(
            f"lora.trainable_token_indices: all embeddings ('{path}') are trained already",
            "leave them out of lora.target_modules and lora.modules_to_save, or leave trainable_token_indices out",
        )
    return sorted(ids)
