"""An adapter in PEFT's layout, written without PEFT."""

from __future__ import annotations

import json
from importlib import metadata
from pathlib import Path
from typing import Any

from torch import Tensor

from finetune30.training.packed.lora_plan import LoraPlan

CONFIG_FILE = "adapter_config.json"
WEIGHTS_FILE = "adapter_model.safetensors"
#: PEFT wraps the classifier twice; its saved names begin with this.
NAME_PREFIX = "base_model.model."


def adapter_config(plan: LoraPlan, reference: str, revision: str | None, task_type: str) -> dict[str, Any]:
    """Return adapter_config.json: what differs from PEFT's defaults, and what readers look for."""
    lora = plan.config
    return {
        "base_model_name_or_path": reference,
        "bias": lora.bias,
        "exclude_modules": plan.exclude_modules,
        "fan_in_fan_out": False,
        "inference_mode": True,
        "init_lora_weights": lora.init_lora_weights,
        "layers_to_transform": lora.layers_to_transform,
        "lora_alpha": lora.lora_alpha,
        "lora_dropout": lora.lora_dropout,
        "modules_to_save": list(plan.modules_to_save),
        "peft_type": "LORA",
        "peft_version": metadata.version("peft"),
        "r": lora.r,
        "revision": revision,
        "target_modules": list(plan.target_modules),
        "task_type": task_type,
        "use_dora": lora.use_dora,
        "use_rslora": lora.use_rslora,
    }


def save_adapter_files(folder: Path, config: dict[str, Any], state: dict[str, Tensor]) -> None:
    """Write both files under temporary names and rename them."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    weights = folder / (WEIGHTS_FILE + ".tmp")
    save_file(state, weights, metadata={"format": "pt"})
    weights.replace(folder / WEIGHTS_FILE)
    described = folder / (CONFIG_FILE + ".tmp")
    described.write_text(json.dumps(config, indent=2, sort_keys=True), encoding="utf-8")
    described.replace(folder / CONFIG_FILE)
