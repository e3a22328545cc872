"""Initial values of new weights: a pure function of the seed and the weight's name.

So the start does not depend on the order in which a library happens to build modules, and every training path
(general or packed) begins from the same numbers.
"""

from __future__ import annotations

import hashlib
import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def initial_head_weight(name: str, shape: tuple[int, ...], seed: int, standard_deviation: float) -> torch.Tensor:
    """Return a head weight: normal(0, standard_deviation) for matrices, zeros for vectors (biases), float32.

    `name` is the weight's name in the base model, for example "classifier.weight". The standard deviation is the
    base model's own `initializer_range` (Devlin et al. 2019, section A.2: 0.02).
    """
    import torch

    if len(shape) < 2:
        return torch.zeros(shape)
    return torch.empty(shape).normal_(0.0, standard_deviation, generator=_generator(name, seed))


def initial_lora_a(name: str, shape: tuple[int, ...], seed: int) -> torch.Tensor:
    """Return a LoRA A matrix (r, in_features), float32: Kaiming uniform with a = sqrt(5), as PEFT's default.

    `name` is the module's name in the base model, for example "bert.encoder.layer.0.attention.self.query".
    """
    import torch

    bound = math.sqrt(6.0 / ((1.0 + 5.0) * shape[1]))
    return torch.empty(shape).uniform_(-bound, bound, generator=_generator(name, seed))


def _generator(name: str, seed: int) -> torch.Generator:
    import torch

    digest = hashlib.sha256(f"{seed}:{name}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)
