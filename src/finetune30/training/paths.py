"""The engine for a configuration: base model, adapter, device, and the training path that fits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from finetune30.config import ExperimentConfig
from finetune30.data.encoding import EncodedSplit, TextEncoder
from finetune30.errors import DataError, ModelError
from finetune30.modeling.heavy_imports import import_heavy

if TYPE_CHECKING:
    from finetune30.modeling.base import BaseSource
    from finetune30.modeling.devices import Placement
    from finetune30.training.engine import Engine
    from finetune30.training.general import GeneralEngine
    from finetune30.training.problem import Trainable

Log = Callable[[str], None]
#: Counted up when the results of a path change in their last bits, so that nobody goes on with a run of before and
#: takes it for the same training. A path at 1 has no entry: records of before had none.
_VERSIONS = {"packed": 4}


def _say_nothing(_: str) -> None:
    """Nobody wants to know."""


def choose_path(
    config: ExperimentConfig, source: BaseSource, problem: Trainable, placement: Placement
) -> tuple[str, str]:
    """Return the training path, `packed` or `general`, and why.

    Raises ModelError when the configuration asks for the packed path and it cannot run this experiment.
    """
    if config.training.engine == "general":
        return "general", "as configured"
    from finetune30.training.packed import supports

    if problem.head_outputs is None and not problem.scores_tokens:
        reason: str | None = "it trains classification heads with one target a row, and language models"
    else:
        reason = supports(config, source, placement, scores_tokens=problem.scores_tokens)
    if reason is None:
        return "packed", "the model, the adapter and the device allow it"
    if config.training.engine == "packed":
        raise ModelError(f"the packed path cannot run this experiment: {reason}", "set training.engine to auto")
    return "general", f"not packed: {reason}"


def describe_path(path: str) -> dict[str, int]:
    """Return what tells the results of a path from those that it had in earlier versions, as records name it."""
    return {f"{path}_path_version": _VERSIONS[path]} if path in _VERSIONS else {}


def build_engine(
    path: str,
    config: ExperimentConfig,
    source: BaseSource,
    problem: Trainable,
    placement: Placement,
    log: Log = _say_nothing,
) -> Engine:
    """Build the engine of a path that `choose_path` chose; both start from the same weights.

    Its `precision` is the one that it computes in.
    """
    if path == "packed":
        from finetune30.training.packed import build_packed_engine

        if config.training.gpu_kernels == "on":
            from finetune30.training.gpu_kernels.choosing import decline_kernels

            decline_kernels("on", "the packed path runs on CPUs")
        return build_packed_engine(
            config,
            source,
            loss=problem.loss,
            outputs=problem.head_outputs or 0,
            precision=placement.precision,
            task_type=problem.peft_task_type,
        )
    return build_general_engine(config, source, problem, placement, log)


def settle_packing(engine: Engine, split: EncodedSplit, config: ExperimentConfig, log: Log = _say_nothing) -> None:
    """Let the general engine lay rows behind each other where that is wanted and the model keeps them apart.

    Raises ModelError where it is asked for and cannot be.
    """
    if engine.name != "general":
        return  # the packed path has no padding anyway
    from finetune30.training.general import GeneralEngine
    from finetune30.training.packing import choose_packing

    assert isinstance(engine, GeneralEngine)  # noqa: S101 - its name says so
    engine.packs, reason = choose_packing(engine, split, config.training.packing)
    if split.targets_per_token:
        log(f"packing: {'on' if engine.packs else 'off'} ({reason})")


def build_general_engine(
    config: ExperimentConfig, source: BaseSource, problem: Trainable, placement: Placement, log: Log = _say_nothing
) -> Engine:
    """Build the general engine: any transformers model under PEFT.

    A family that cannot compute in the precision found by itself is trained in float32, with a line in the log.
    Raises ModelError where the precision was named, or the model cannot compute in any.
    """
    import_heavy("transformers.modeling_utils", "peft")
    from finetune30.modeling.base import load_tokenizer
    from finetune30.modeling.tokenizing import TokenizerEncoder
    from finetune30.training.gpu_kernels.choosing import choose_kernels
    from finetune30.training.precision import find_failure

    tokenizer = load_tokenizer(source)
    engine = _build_general_engine(config, source, problem, placement, int(tokenizer.pad_token_id))
    encoder = TokenizerEncoder(tokenizer, uses_token_types=False)
    failure = find_failure(engine, encoder, config.data.max_length, asks_tokens=problem.head_outputs is None)
    if failure is None:
        wanted = config.training.gpu_kernels
        found = choose_kernels(engine, wanted)
        if wanted != "off":
            log(f"kernels for GPUs: {'on' if engine.kernels else 'off'} ({found})")
        return engine
    if placement.precision == "fp32":
        raise ModelError(f"the model '{source.name}' cannot be computed: {failure}", "choose another model")
    if config.training.precision != "auto":
        raise ModelError(
            f"the model '{source.name}' cannot be computed in {placement.precision}: {failure}",
            "set training.precision to fp32 or auto",
        )
    log(f"the model cannot be computed in {placement.precision} ({failure}): it is trained in fp32")
    del engine  # before the next one takes as much memory
    return build_general_engine(config, source, problem, replace(placement, precision="fp32"), log)


def _build_general_engine(
    config: ExperimentConfig, source: BaseSource, problem: Trainable, placement: Placement, pad_token_id: int
) -> GeneralEngine:
    from finetune30.modeling.adapters import build_adapter
    from finetune30.modeling.quantization import loading_options, plan_quantization
    from finetune30.training.general import GeneralEngine

    quantization = plan_quantization(config, source, trains_head=problem.trains_head)
    if quantization is not None:
        options = loading_options(quantization, placement.device, placement.dtype_name)
        source = replace(source, quantization_options=options)
    model, new_weights = problem.load_model(source, pad_token_id)
    adapter = build_adapter(
        model,
        config.lora,
        source,
        new_weights,
        config.training.seed,
        task_type=problem.peft_task_type,
        trains_head=problem.trains_head,
    )
    return GeneralEngine(
        adapter,
        config.training,
        placement,
        outputs=problem.outputs,
        loss=problem.loss,
        pad_token_id=pad_token_id,
        loraplus_lr_ratio=config.lora.loraplus_lr_ratio,
    )


def build_encoder(path: str, source: BaseSource, max_length: int, problem: Trainable | None = None) -> TextEncoder:
    """Build the encoder, the problem's own where it has one, and check that the model can read `max_length` tokens.

    On the packed path configuration and tokenizer are read without transformers, which saves seconds at the start;
    else the model is asked. Raises DataError when the model is too short. The encoder raises ModelError for a token
    that the model has no embedding for.
    """
    facts = _ask_file(source) if path == "packed" else _ask_model(source, problem)
    if facts.positions is not None and max_length > facts.positions:
        raise DataError(
            f"data.max_length {max_length} is above the {facts.positions} positions of '{source.name}'",
            f"set data.max_length to at most {facts.positions}",
        )
    own: TextEncoder | None = None if problem is None else problem.build_encoder(source, facts.known_tokens)
    if own is not None:
        return own
    if path == "packed":
        from finetune30.modeling.text_encoder import load_text_encoder

        encoder = load_text_encoder(source, uses_token_types=facts.reads_token_types, known_tokens=facts.known_tokens)
        if encoder is not None:
            return encoder
    from finetune30.modeling.base import load_tokenizer
    from finetune30.modeling.tokenizing import TokenizerEncoder

    return TokenizerEncoder(
        load_tokenizer(source), uses_token_types=facts.reads_token_types, known_tokens=facts.known_tokens
    )


@dataclass(frozen=True)
class _InputFacts:
    """What a model reads: so many positions (None: no limit), token types, embeddings for so many tokens."""

    positions: int | None
    reads_token_types: bool
    known_tokens: int


def _ask_file(source: BaseSource) -> _InputFacts:
    from finetune30.training.packed.families import find_family

    config = source.load_config()
    family = find_family(config)
    assert family is not None  # noqa: S101 - else this were not the packed path
    shape = family.shape(config)
    return _InputFacts(shape.usable_positions, shape.reads_token_types, shape.vocabulary_size)


def _ask_model(source: BaseSource, problem: Trainable | None) -> _InputFacts:
    import_heavy("transformers.modeling_utils", "peft")
    from finetune30.modeling import model_facts

    config = model_facts.load_config(source.folder, source.name)
    has_head = problem is None or problem.head_outputs is not None
    outline = model_facts.outline_classifier(config) if has_head else model_facts.outline_backbone(config)
    return _InputFacts(
        model_facts.count_positions(outline),
        model_facts.reads_token_types(outline.config),
        model_facts.count_tokens_known(outline),
    )
