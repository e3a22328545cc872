"""Which modules get LoRA and which are trained whole: PEFT's rules, applied to names instead of modules."""

from __future__ import annotations

import math
import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from finetune30.config import LoraConfig
from finetune30.modeling.families import query_and_value
from finetune30.modeling.names import is_named, is_within
from finetune30.training.packed.families import Family, Linear, Shape


class UnsupportedPlanError(Exception):
    """The adapter asks for something that only the general path does; the text is the reason."""


@dataclass(frozen=True)
class LoraPlan:
    """A resolved adapter: what adapter_config.json says, and the full names of the modules with LoRA."""

    config: LoraConfig
    target_modules: tuple[str, ...]
    modules_to_save: tuple[str, ...]
    exclude_modules: str | None
    paths: frozenset[str]

    @property
    def scale(self) -> float:
        """Factor of every update: alpha / r, or alpha / sqrt(r) (Kalajdzievski 2023, rank-stabilised LoRA)."""
        r = self.config.r
        return self.config.lora_alpha / (math.sqrt(r) if self.config.use_rslora else r)

    def adapts(self, linear: Linear) -> bool:
        """Tell whether a linear layer gets LoRA."""
        return linear.path in self.paths

    def trains_whole(self, linear: Linear) -> bool:
        """Tell whether a linear layer is trained and saved whole."""
        return is_within(linear.path, self.modules_to_save)


def resolve_plan(config: LoraConfig, family: Family[Any], shape: Shape, *, lacking: Collection[str]) -> LoraPlan:
    """Apply target_modules, layers_to_transform and modules_to_save to the family's linear layers.

    `lacking`: the paths of linear layers that the checkpoint does not hold; what may be saved whole is trained then.
    Raises UnsupportedPlanError with the reason when the packed path cannot train this adapter.
    """
    _refuse_options(config)
    saved = _modules_to_save(config, family, lacking)
    linears = [linear for linear in family.linears(shape) if not is_within(linear.path, saved)]
    targets = _target_modules(config, linears)
    wanted = [linear for linear in linears if is_named(linear.path, targets)]
    unknown = [target for target in targets if not any(is_named(linear.path, [target]) for linear in linears)]
    if unknown:
        raise UnsupportedPlanError(f"lora.target_modules {', '.join(unknown)} name no linear layer of the model")
    if config.layers_to_transform:
        # As in PEFT, layers_to_transform leaves out modules that stand in no numbered layer (a pooler).
        wanted = [linear for linear in wanted if linear.layer in config.layers_to_transform]
        beyond = [i for i in config.layers_to_transform if i >= shape.layer_count]
        if beyond:
            raise UnsupportedPlanError(f"lora.layers_to_transform {beyond} are beyond the last layer")
    if not wanted:
        raise UnsupportedPlanError("no module gets LoRA")
    pattern = "|".join(re.escape(name) for name in saved)
    paths = frozenset(linear.path for linear in wanted)
    excluded = rf"(.*\.)?({pattern})(\..*)?" if saved else None
    return LoraPlan(config, tuple(targets), tuple(saved), excluded, paths)


def _refuse_options(config: LoraConfig) -> None:
    if config.use_dora:
        raise UnsupportedPlanError("lora.use_dora is on")
    if config.bias != "none":
        raise UnsupportedPlanError(f"lora.bias is '{config.bias}'")
    if config.init_lora_weights is not True:
        raise UnsupportedPlanError(f"lora.init_lora_weights is {config.init_lora_weights!r}")
    for name in ("loraplus_lr_ratio", "trainable_token_indices"):
        if getattr(config, name) is not None:
            raise UnsupportedPlanError(f"lora.{name} is set")


def _modules_to_save(config: LoraConfig, family: Family[Any], lacking: Collection[str]) -> list[str]:
    further = list(config.modules_to_save or [])
    refused = [name for name in further if name not in (*family.saved_modules, *family.savable_modules)]
    if refused:
        raise UnsupportedPlanError(f"lora.modules_to_save names {', '.join(refused)}")
    new = [name for name in family.savable_modules if any(is_within(path, [name]) for path in lacking)]
    return list(dict.fromkeys([*family.saved_modules, *new, *further]))


def _target_modules(config: LoraConfig, linears: list[Linear]) -> list[str]:
    names = list(dict.fromkeys(linear.path.rsplit(".", 1)[-1] for linear in linears))
    if config.target_modules == "auto":
        return list(query_and_value(names) or names)
    return names if config.target_modules == "all-linear" else list(config.target_modules)
