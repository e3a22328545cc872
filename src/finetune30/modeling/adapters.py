"""LoRA on a base model, with everything that must be trained and saved beside it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from finetune30.config import LoraConfig
from finetune30.errors import ModelError
from finetune30.modeling.converting import require_whole_start
from finetune30.modeling.embeddings import choose_tokens, trains_tied
from finetune30.modeling.families import query_and_value
from finetune30.modeling.initialization import initial_head_weight, initial_lora_a
from finetune30.modeling.model_facts import head_modules, owner_of
from finetune30.modeling.names import PEFT_TASK_TYPE, is_named, is_within
from finetune30.modeling.quiet import quiet_transformers

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel

    from finetune30.modeling.base import BaseSource


def build_adapter(
    model: PreTrainedModel,
    config: LoraConfig,
    source: BaseSource,
    new_weights: list[str],
    seed: int,
    *,
    task_type: str = PEFT_TASK_TYPE,
    trains_head: bool = True,
) -> PeftModel:
    """Wrap a base model with LoRA; initial values depend on the seed and on names only.

    The whole head is trained and saved (unless `trains_head` says that it is the base model's own), and so are the
    modules of `new_weights`, the names that the base checkpoint lacked: no part of a model can come back random.
    Raises ModelError for modules or layers that do not exist or cannot be used so.
    """
    import torch
    from peft import LoraConfig as PeftLoraConfig
    from peft import get_peft_model

    saved = _modules_to_save(model, config, head_modules(model) if trains_head else [], new_weights)
    targets = resolve_target_modules(model, config.target_modules, saved)
    _validate_layers(model, config)
    ties = trains_tied(model, targets, saved)
    tokens = choose_tokens(model, config, targets, saved)
    standard_deviation = float(getattr(model.config, "initializer_range", 0.02) or 0.02)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name in new_weights and parameter.dim() > 1:
                parameter.copy_(initial_head_weight(name, tuple(parameter.shape), seed, standard_deviation))
    torch.manual_seed(seed)  # for initialisations that PEFT draws itself (pissa, olora, …)
    initialisation: Any = config.init_lora_weights  # PEFT's type names no pissa_niter_4
    described = PeftLoraConfig(
        r=config.r,
        lora_alpha=config.lora_alpha,
        target_modules=targets,
        exclude_modules=_head_pattern(saved, targets),
        fan_in_fan_out=_stores_transposed(model),
        lora_dropout=config.lora_dropout,
        bias=config.bias,
        task_type=task_type,
        use_rslora=config.use_rslora,
        use_dora=config.use_dora,
        init_lora_weights=initialisation,
        modules_to_save=saved,
        ensure_weight_tying=ties,
        trainable_token_indices=tokens,
        layers_to_transform=config.layers_to_transform,
        revision=source.revision,
    )
    try:
        with quiet_transformers():
            wrapped = get_peft_model(model, described)
    except (ValueError, TypeError) as error:  # a combination that only PEFT knows to be impossible
        raise ModelError(
            f"lora: PEFT cannot build this adapter: {' '.join(str(error).split())[:300]}",
            "change target_modules, layers_to_transform or modules_to_save",
        ) from error
    if config.changes_base:
        require_whole_start(wrapped, str(config.init_lora_weights), config.r)
    wrapped.peft_config["default"].base_model_name_or_path = source.reference
    if config.init_lora_weights is True and not config.use_dora:
        _set_lora_a(wrapped, seed)
    return wrapped


def resolve_target_modules(model: PreTrainedModel, wanted: list[str] | str, saved: list[str]) -> list[str]:
    """Turn `auto`, `all-linear` or a list into module names of this model, checked."""
    candidates = _candidate_names(model, saved)
    if wanted == "all-linear":
        return candidates
    if wanted == "auto":
        return list(query_and_value(candidates) or candidates)
    named = dict(model.named_modules())
    remedy = "name some of the candidates, or set target_modules to auto or all-linear"
    choice = ", ".join(candidates)
    if missing := [name for name in wanted if not _find_named(named, [name])]:
        quoted = ", ".join(map(repr, missing))
        raise ModelError(
            f"lora.target_modules: {quoted} not in model type '{model.config.model_type}'; candidates: {choice}", remedy
        )
    meant = [path for path in _find_named(named, wanted) if not is_within(path, saved)]
    if not meant:
        raise ModelError(
            f"lora.target_modules: all of {', '.join(wanted)} are trained whole ({', '.join(saved)}); "
            f"candidates: {choice}",
            remedy,
        )
    if wrong := next((path for path in meant if not isinstance(named[path], _adaptable())), None):
        kind = type(named[wrong]).__name__
        raise ModelError(
            f"lora.target_modules: '{wrong}' is a {kind}; LoRA adapts linear, embedding and convolution layers; "
            f"candidates: {choice}",
            remedy,
        )
    return list(wanted)


def _find_named(paths: Iterable[str], names: Iterable[str]) -> list[str]:
    return [path for path in paths if is_named(path, names)]


def _adaptable() -> tuple[type, ...]:
    """What PEFT has LoRA layers for."""
    import torch
    from transformers.pytorch_utils import Conv1D

    layers = torch.nn
    return (layers.Linear, layers.Embedding, layers.Conv1d, layers.Conv2d, layers.Conv3d, Conv1D)


def _stores_transposed(model: PreTrainedModel) -> bool:
    """Tell whether the layers of a model (GPT-2's) hold their weights as (in, out), which LoRA must know."""
    from transformers.pytorch_utils import Conv1D

    return any(isinstance(module, Conv1D) for module in model.modules())


def _candidate_names(model: PreTrainedModel, saved: list[str]) -> list[str]:
    import torch
    from transformers.pytorch_utils import Conv1D

    names: dict[str, None] = {}
    output = model.get_output_embeddings()  # of a language model: as PEFT's all-linear, LoRA leaves it alone
    for path, module in model.named_modules():
        if isinstance(module, torch.nn.Linear | Conv1D) and module is not output and not is_within(path, saved):
            names[path.rsplit(".", 1)[-1]] = None
    return list(names)


def _modules_to_save(model: PreTrainedModel, config: LoraConfig, heads: list[str], new_weights: list[str]) -> list[str]:
    import torch

    top = dict(model.named_children())
    new = [owner_of(weight, model) for weight in new_weights]
    wanted = list(config.modules_to_save or [])
    named = dict(model.named_modules())
    if unknown := [name for name in wanted if not _find_named(named, [name])]:
        raise ModelError(
            f"lora.modules_to_save: {', '.join(map(repr, unknown))} not in the model; top modules: {', '.join(top)}",
            "name modules that exist, or set modules_to_save to null: the head is always saved",
        )
    if held := [path for path in _find_named(named, wanted) if isinstance(named[path], torch.nn.ModuleList)]:
        raise ModelError(
            f"lora.modules_to_save: '{held[0]}' is a list of {len(named[held[0]])} modules, not one",
            f"name its parts, for example {held[0]}.0",
        )
    with_weights = [path for path, module in named.items() if next(module.parameters(), None) is not None]
    if bare := [name for name in wanted if not _find_named(with_weights, [name])]:
        raise ModelError(
            f"lora.modules_to_save: '{bare[0]}' has no weights that could be trained", "leave it out of modules_to_save"
        )
    return _name_whole(list(named), list(dict.fromkeys([*heads, *new, *wanted])))


def _name_whole(paths: list[str], names: list[str]) -> list[str]:
    """Return names under which PEFT finds just the modules meant, each as a whole.

    PEFT compares ends of paths letter by letter: `embeddings` would also name `embeddings.word_embeddings`, which then
    is wrapped twice and cannot be loaded again, and `norm` every `input_layernorm`. Such names become whole paths.
    """
    meant = _find_named(paths, names)
    outermost = [path for path in meant if not any(path.startswith(f"{other}.") for other in meant)]
    found = [path for path in paths if any(path.endswith(name) for name in names)]
    return names if found == outermost else outermost


def _head_pattern(saved: list[str], targets: list[str]) -> str | None:
    """Keep LoRA out of modules that are saved whole (a head with layers named like the targets)."""
    names = "|".join(re.escape(name) for name in saved if name not in targets)
    return rf"(.*\.)?({names})(\..*)?" if names else None


def _validate_layers(model: PreTrainedModel, config: LoraConfig) -> None:
    layers: Any = getattr(model.config, "num_hidden_layers", None)
    wrong = [i for i in config.layers_to_transform or [] if layers is not None and i >= layers]
    if wrong:
        raise ModelError(
            f"lora.layers_to_transform: layers {wrong} do not exist; the model has layers 0 to {layers - 1}",
            "name layers in that range, or null for all",
        )


def _set_lora_a(model: PeftModel, seed: int) -> None:
    import torch

    with torch.no_grad():
        for path, module in model.get_base_model().named_modules():
            inner = getattr(module, "lora_A", None)
            if inner is not None and "default" in inner:
                weight = inner["default"].weight
                weight.copy_(initial_lora_a(path, tuple(weight.shape), seed))
