"""Adapters whose start was taken out of the base (PiSSA, OLoRA), turned into ordinary LoRA for the base as it was.

In training the model is W - s B0 A0 + s B A (s: the scaling). For the base W that is s (B A - B0 A0): one LoRA of twice
the rank, A and A0 above each other, B and -B0 side by side (PEFT's documentation, "Convert PiSSA to LoRA"). PEFT's own
conversion leaves out whatever else is trained: magnitudes of DoRA, biases, modules saved whole.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetune30.errors import ModelError

if TYPE_CHECKING:
    import torch
    from peft import PeftModel
    from torch import Tensor

_CONFIG, _WEIGHTS = "adapter_config.json", "adapter_model.safetensors"


def require_whole_start(model: PeftModel, initialisation: str, rank: int) -> None:
    """Refuse layers whose start could not be taken out of their weights. Raises ModelError.

    PEFT leaves embeddings and convolutions as they are, makes matrices of a lower rank than asked for, and takes
    OLoRA's start of weights that are stored (in, out) the wrong way round.
    """
    from peft.tuners.lora import Linear

    found: Any
    shapes: dict[str, tuple[int, ...]] = {}
    for path, found in _lora_layers(model):
        if not isinstance(found, Linear):
            raise _cannot_start(initialisation, path, "is no linear layer", "name linear layers in lora.target_modules")
        if initialisation == "olora" and found.fan_in_fan_out:
            raise _cannot_start(
                initialisation, path, "stores its weights as (in, out)", "set lora.init_lora_weights to pissa or true"
            )
        weight: Any = found.get_base_layer().weight
        shapes[path] = tuple(weight.shape)
    tightest = min(shapes, key=lambda path: min(shapes[path]))
    if rank > min(shapes[tightest]):
        raise _cannot_start(
            initialisation,
            tightest,
            f"is a matrix of {shapes[tightest][0]} x {shapes[tightest][1]}, less than r {rank}",
            f"set lora.r to at most {min(shapes[tightest])}, or leave it out of lora.target_modules",
        )


def convert_state(state: Mapping[str, Tensor], start: Mapping[str, Tensor], *, use_rslora: bool) -> dict[str, Tensor]:
    """Return a trained adapter as one for the base before `start` was taken out of it; both under PEFT's names.

    Twice the rank makes rsLoRA's alpha / sqrt(r) smaller by sqrt(2). B makes up for it, so that alpha stays whole.
    """
    import torch

    factor = math.sqrt(2) if use_rslora else 1.0
    converted = dict(state)
    for name, tensor in state.items():
        if ".lora_A." in name:
            converted[name] = torch.cat([tensor, start[name]], dim=0)
        elif ".lora_B." in name:
            converted[name] = torch.cat([tensor, -start[name]], dim=1) * factor
    return converted


def convert_saved(folder: Path, state: Mapping[str, Tensor]) -> None:
    """Write a converted state, and what its configuration must say, over the adapter that PEFT saved in `folder`."""
    from safetensors.torch import save_file

    described: dict[str, Any] = json.loads((folder / _CONFIG).read_text(encoding="utf-8"))
    described |= {"r": 2 * described["r"], "init_lora_weights": True}
    if not described["use_rslora"]:
        described["lora_alpha"] *= 2
    (folder / _CONFIG).write_text(json.dumps(described, indent=2, sort_keys=True), encoding="utf-8")
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, folder / _WEIGHTS, {"format": "pt"})


def _lora_layers(model: PeftModel) -> list[tuple[str, Any]]:
    from peft.tuners.lora import LoraLayer

    base: torch.nn.Module = model.get_base_model()
    return [(path, module) for path, module in base.named_modules() if isinstance(module, LoraLayer)]


def _cannot_start(initialisation: str, path: str, why: str, remedy: str) -> ModelError:
    return ModelError(
        f"lora.init_lora_weights '{initialisation}' cannot take its start out of '{path}', which {why}", remedy
    )
