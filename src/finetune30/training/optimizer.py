"""AdamW of the general path: what decays, and what learns faster than the rest."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import groupby

import torch
from torch.nn import Parameter

from finetune30.config import TrainingConfig

_NO_DECAY = ("bias", "norm")
#: PEFT's names for B, in linear layers and convolutions, and in embeddings.
_B_MATRICES = (".lora_B.", ".lora_embedding_B.")
#: Key of a parameter group: its learning rate by that of the schedule.
_RATIO = "lr_ratio"


def build_optimizer(
    trainable: Mapping[str, Parameter], config: TrainingConfig, loraplus_lr_ratio: float = 1.0
) -> torch.optim.AdamW:
    """Return AdamW (Loshchilov & Hutter 2019); weight decay spares biases and norms, as transformers does.

    `loraplus_lr_ratio`: how many times the learning rate of all else B has (LoRA+, Hayou et al. 2024).
    """

    def place(name: str) -> tuple[bool, bool]:
        is_b = loraplus_lr_ratio != 1.0 and any(part in name for part in _B_MATRICES)
        return any(part in name.lower() for part in _NO_DECAY), is_b

    groups = [
        {
            "params": [trainable[name] for name in names],
            "weight_decay": 0.0 if spared else config.weight_decay,
            _RATIO: loraplus_lr_ratio if is_b else 1.0,
        }
        for (spared, is_b), names in groupby(sorted(trainable, key=place), key=place)
    ]
    return torch.optim.AdamW(
        groups,
        lr=config.learning_rate,
        betas=(config.adam_beta1, config.adam_beta2),
        eps=config.adam_epsilon,
        fused=True,
    )


def set_learning_rate(optimizer: torch.optim.Optimizer, learning_rate: float) -> None:
    """Give every group its learning rate, by that of the schedule."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate * group[_RATIO]
