"""The engine for a configuration: base model, adapter, device, and the training path that fits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from finetune30.config import ExperimentConfig
from finetune30.data.encoding import TextEncoder
from finetune30.errors import DataError, ModelError
from finetune30.modeling.heavy_imports import import_heavy

if TYPE_CHECKING:
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


def choose_path(config: ExperimentConfig, source: BaseSource, placement: Placement) -> tuple[str, str]:
    """Return the training path, `packed` or `general`, and why.

    Raises ModelError when the configuration asks for the packed path and it cannot run this experiment.
    """
    if config.training.engine == "general":
        return "general", "as configured"
    from finetune30.training.packed import supports

    reason = supports(config, source, placement)
    if reason is None:
        return "packed", "the model, the adapter and the device allow it"
    if config.training.engine == "packed":
        raise ModelError(f"the packed path cannot run this experiment: {reason}", "set training.engine to auto")
    return "general", f"not packed: {reason}"


def build_engine(path: str, config: ExperimentConfig, source: BaseSource, task: Task, placement: Placement) -> Engine:
    """Build the engine of a path; both start from the same weights."""
    if path == "packed":
        from finetune30.training.losses import row_losses
        from finetune30.training.packed import build_packed_engine

        return build_packed_engine(
            config,
            source,
            loss=lambda outputs, targets: row_losses(outputs, targets, task.problem_type).sum(),
            problem_type=task.problem_type,
            num_labels=task.num_labels,
            precision=placement.precision,
        )
    return build_general_engine(config, source, task, placement)


def build_general_engine(config: ExperimentConfig, source: BaseSource, task: Task, placement: Placement) -> Engine:
    """Build the general engine: any transformers classifier under PEFT."""
    import_heavy("transformers.modeling_utils", "peft")
    from finetune30.modeling.adapters import build_adapter
    from finetune30.modeling.base import load_classifier, load_tokenizer
    from finetune30.training.general import GeneralEngine

    pad_token_id = int(load_tokenizer(source).pad_token_id)
    model, new_weights = load_classifier(
        source,
        label_names=task.label_names,
        num_labels=task.num_labels,
        problem_type=task.problem_type,
        pad_token_id=pad_token_id,
    )
    adapter = build_adapter(model, config.lora, source, new_weights, config.training.seed)
    return GeneralEngine(adapter, config.training, placement, problem_type=task.problem_type, pad_token_id=pad_token_id)


def build_encoder(path: str, source: BaseSource, max_length: int) -> TextEncoder:
    """Build the encoder and check that the model can read `max_length` tokens.

    On the packed path the tokenizer's files are read without transformers, which saves seconds at the start.
    Raises DataError when the model is too short.
    """
    config = source.load_json("config.json")
    positions = config.get("max_position_embeddings")
    # RoBERTa-like models count positions from the padding token on, so two of them are never reached.
    offset = 2 if config.get("model_type") in ("roberta", "xlm-roberta", "camembert") else 0
    if positions is not None and max_length > positions - offset:
        raise DataError(
            f"data.max_length {max_length} is above the {positions - offset} positions of '{source.name}'",
            f"set data.max_length to at most {positions - offset}",
        )
    if path == "packed":
        from finetune30.modeling.text_encoder import load_text_encoder
        from finetune30.training.packed.families import find_family

        family = find_family(config)
        assert family is not None  # noqa: S101 - else this were not the packed path
        encoder = load_text_encoder(source, uses_token_types=family.shape(config).type_count > 1)
        if encoder is not None:
            return encoder
    from transformers import AutoConfig

    from finetune30.modeling.base import load_tokenizer
    from finetune30.modeling.tokenizing import TokenizerEncoder, reads_token_types

    # The loaded configuration, not the file: what a file leaves out has a default that the model is built with.
    loaded = AutoConfig.from_pretrained(source.folder, trust_remote_code=False)
    return TokenizerEncoder(load_tokenizer(source), uses_token_types=reads_token_types(loaded))
