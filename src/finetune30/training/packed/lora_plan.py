"""Which modules get LoRA and which are trained whole: PEFT's rules, applied to names instead of modules."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass

from finetune30.config import LoraConfig
from finetune30.modeling.families import query_and_value
from finetune30.modeling.names import is_named
from finetune30.training.packed.family import ROLES, EncoderFamily

_LAYER_INDEX = re.compile(r".*\.[^.]*\.(\d+)\.")


class UnsupportedPlanError(Exception):
    """The adapter asks for something that only the general path does; the text is the reason."""


@dataclass(frozen=True)
class LoraPlan:
    """A resolved adapter: what adapter_config.json says, and the full names of the modules with LoRA."""

    config: LoraConfig
    target_modules: tuple[str, ...]
    modules_to_save: tuple[str, ...]
    exclude_modules: str
    paths: frozenset[str]

    @property
    def scale(self) -> float:
        """Factor of every update: alpha / r, or alpha / sqrt(r) (Kalajdzievski 2023, rank-stabilised LoRA)."""
        r = self.config.r
        return self.config.lora_alpha / (math.sqrt(r) if self.config.use_rslora else r)


def resolve_plan(config: LoraConfig, family: EncoderFamily, *, pooler_is_new: bool) -> LoraPlan:
    """Apply target_modules, layers_to_transform and modules_to_save to the family's module names.

    `pooler_is_new`: BERT's checkpoint holds no pooler, so it is trained with the head.
    Raises UnsupportedPlanError with the reason when the packed path cannot train this adapter.
    """
    _refuse_options(config)
    saved = _modules_to_save(config, family, pooler_is_new)
    linears = [path for path in _linear_paths(family) if not set(path.split(".")) & set(saved)]
    targets = _target_modules(config, linears)
    wanted = {path for path in linears if is_named(path, targets)}
    unknown = [t for t in targets if not any(is_named(path, [t]) for path in linears)]
    if unknown:
        raise UnsupportedPlanError(f"lora.target_modules {', '.join(unknown)} name no linear layer of the encoder")
    if config.layers_to_transform:
        # As in PEFT, layers_to_transform leaves out modules that stand in no numbered layer (a pooler).
        wanted = {path for path in wanted if _layer_of(path) in config.layers_to_transform}
        beyond = [i for i in config.layers_to_transform if i >= family.layer_count]
        if beyond:
            raise UnsupportedPlanError(f"lora.layers_to_transform {beyond} are beyond the last layer")
    if not wanted:
        raise UnsupportedPlanError("no module gets LoRA")
    pattern = "|".join(re.escape(name) for name in saved)
    return LoraPlan(config, tuple(targets), tuple(saved), rf"(.*\.)?({pattern})(\..*)?", frozenset(wanted))


def _refuse_options(config: LoraConfig) -> None:
    if config.use_dora:
        raise UnsupportedPlanError("lora.use_dora is on")
    if config.bias != "none":
        raise UnsupportedPlanError(f"lora.bias is '{config.bias}'")
    if config.init_lora_weights is not True:
        raise UnsupportedPlanError(f"lora.init_lora_weights is {config.init_lora_weights!r}")


def _modules_to_save(config: LoraConfig, family: EncoderFamily, pooler_is_new: bool) -> list[str]:
    heads = ["classifier", "pre_classifier"] if family.model_type == "distilbert" else ["classifier"]
    allowed = {*heads, "pooler"} if family.model_type == "bert" else set(heads)
    further = list(config.modules_to_save or [])
    refused = [name for name in further if name not in allowed]
    if refused:
        raise UnsupportedPlanError(f"lora.modules_to_save names {', '.join(refused)}")
    return list(dict.fromkeys([*heads, *(["pooler"] if pooler_is_new else []), *further]))


def _target_modules(config: LoraConfig, linears: list[str]) -> list[str]:
    names = list(dict.fromkeys(path.rsplit(".", 1)[-1] for path in linears))
    if config.target_modules == "auto":
        return list(query_and_value(names) or names)
    return names if config.target_modules == "all-linear" else list(config.target_modules)


def _linear_paths(family: EncoderFamily) -> Iterator[str]:
    for layer in range(family.layer_count):
        for role in ROLES:
            yield family.module_path(layer, role)
    yield family.head.dense
    yield family.head.output


def _layer_of(path: str) -> int | None:
    match = _LAYER_INDEX.match(path)
    return int(match.group(1)) if match else None
