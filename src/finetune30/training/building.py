"""The engine for a configuration: base model, adapter, device, and the training path that fits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from finetune30.config import ExperimentConfig
from finetune30.data.encoding import TextEncoder
from finetune30.errors import DataError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from finetune30.modeling.base import BaseSource
    from finetune30.modeling.devices import Placement
    from finetune30.training.engine import Engine


@dataclass(frozen=True)
class Task:
    """What the rows ask of the model."""

    problem_type: str
    label_names: tuple[str, ...]

    @property
    def num_labels(self) -> int:
        """Outputs of the head: one for regression, else one a label."""
        return len(self.label_names) or 1


def build_general_engine(
    config: ExperimentConfig,
    source: BaseSource,
    tokenizer: PreTrainedTokenizerBase,
    task: Task,
    placement: Placement,
) -> Engine:
    """Build the general engine: any transformers classifier under PEFT."""
    from finetune30.modeling.adapters import build_adapter
    from finetune30.modeling.base import load_classifier
    from finetune30.training.general import GeneralEngine

    model, new_weights = load_classifier(
        source,
        label_names=task.label_names,
        num_labels=task.num_labels,
        problem_type=task.problem_type,
        pad_token_id=int(tokenizer.pad_token_id),
    )
    adapter = build_adapter(model, config.lora, source, new_weights, config.training.seed)
    return GeneralEngine(
        adapter,
        config.training,
        placement,
        problem_type=task.problem_type,
        pad_token_id=int(tokenizer.pad_token_id),
    )


def build_encoder(source: BaseSource, tokenizer: PreTrainedTokenizerBase, max_length: int) -> TextEncoder:
    """Build the encoder and check that the model can read `max_length` tokens.

    Raises DataError when it cannot.
    """
    from finetune30.modeling.tokenizing import TokenizerEncoder

    config = source.load_json("config.json")
    positions = config.get("max_position_embeddings")
    # RoBERTa-like models count positions from the padding token on, so two of them are never reached.
    offset = 2 if config.get("model_type") in ("roberta", "xlm-roberta", "camembert") else 0
    if positions is not None and max_length > positions - offset:
        raise DataError(
            f"data.max_length {max_length} is above the {positions - offset} positions of '{source.name}'",
            f"set data.max_length to at most {positions - offset}",
        )
    return TokenizerEncoder(tokenizer, uses_token_types=config.get("type_vocab_size", 0) > 1)
