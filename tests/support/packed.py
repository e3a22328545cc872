"""The packed path's model in float64, for comparisons that bear no rounding."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from finetune30.config import ExperimentConfig
from finetune30.modeling.base import find_base
from finetune30.training.packed.base_weights import BaseWeights
from finetune30.training.packed.building import build_packed_model
from finetune30.training.packed.families import find_family
from finetune30.training.packed.layout import AskingTokens, PackedLayout, build_layout, first_tokens
from finetune30.training.packed.model import PackedModel
from finetune30.training.packed.support import plan_of
from support.engines import configure
from support.present import present

#: Lengths of rows that lie in attention with PyTorch's operators as one group, as a grid, and as a grid that is full.
LAYOUTS = {"joint": [13, 5, 9], "grid": [30, 28, 9, 3, 30, 27], "full grid": [16, 16, 16, 16, 16]}


def build_model(folder: Path, target_modules: list[str], *, compiled: bool) -> PackedModel:
    """Build the packed model of a base with random trained weights and three labels; LoRA drops out a quarter."""
    config = configure(folder, lora={"target_modules": target_modules, "lora_dropout": 0.25})
    return build_with_random_weights(config, outputs=3, compiled=compiled)


def build_with_random_weights(config: ExperimentConfig, *, outputs: int = 1, compiled: bool) -> PackedModel:
    """Build the packed model of a configuration in float64, with random trained weights."""
    source = find_base(config.model)
    described = source.load_json("config.json")
    family = present(find_family(described))
    shape, base = family.shape(described, outputs), BaseWeights(source.folder, family.spellings)
    model = build_packed_model(
        family,
        shape,
        plan_of(config.lora, family, shape, base),
        base,
        seed=1,
        dtype=torch.float64,
        master_dtype=torch.float64,
        compiled=compiled,
    )
    model.weights.values.copy_(torch.randn(model.weights.count, generator=torch.Generator().manual_seed(5)).double())
    model.weights.values.mul_(0.3)
    return model


def lay_out(model: PackedModel, lengths: Sequence[int], asking: AskingTokens | None = None) -> PackedLayout:
    """Return the layout of rows with these lengths; by default the first token of each is asked for."""
    sizes = np.asarray(lengths)
    asking = first_tokens(sizes) if asking is None else asking
    return build_layout(sizes, asking, 2, torch.float64, with_grid=model.parts.needs_grid, few_sizes=True)


def every_third_token(lengths: NDArray[np.int64]) -> AskingTokens:
    """Ask for every third token, beginning with the second; of a row in the middle for none."""
    places = [np.arange(1, length, 3) if row != 1 else np.arange(0) for row, length in enumerate(lengths)]
    return AskingTokens(np.concatenate(places), np.array([len(found) for found in places]))


def last_two_tokens(lengths: NDArray[np.int64]) -> AskingTokens:
    """Ask for the last two tokens of each row."""
    return AskingTokens(np.stack([lengths - 2, lengths - 1], axis=1).reshape(-1), np.full_like(lengths, 2))
