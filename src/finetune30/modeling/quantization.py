"""Base models whose frozen linear layers are held in 4 or 8 bits by bitsandbytes, as QLoRA does.

transformers quantises them while it loads them. What is trained, the embeddings, the language head and the head of a
classifier stay whole. An adapter belongs to the quantised base: on the whole one it answers differently, so what was
quantised, and how, is written beside it.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from finetune30.config import ExperimentConfig
from finetune30.errors import DeviceError, ModelError
from finetune30.modeling.model_facts import head_modules, load_config, outline_causal, outline_classifier
from finetune30.modeling.names import is_within
from finetune30.modeling.quantization_settings import QUANTIZING_PACKAGE, Quantization

if TYPE_CHECKING:
    import torch
    from torch import nn
    from transformers import PreTrainedModel

    from finetune30.modeling.base import BaseSource

#: Name of the switch by which a 4-bit layer knows that this CPU multiplies bfloat16 matrices.
_CPU_KERNEL = "support_avx512bf16_for_cpu"
#: Pooling layers are new where a checkpoint lacks them, and then trained whole; they are small.
_POOLER = "pooler"


def plan_quantization(config: ExperimentConfig, source: BaseSource, *, trains_head: bool) -> Quantization | None:
    """Return how the base model of a training is quantised, None where it stays whole.

    `trains_head`: whether it is loaded as a classifier, whose head is trained.
    """
    method = config.model.quantization
    if method is None:
        return None
    loaded = load_config(source.folder, source.name)
    outline = outline_classifier(loaded) if trains_head else outline_causal(loaded)
    return choose_whole(method, outline, config.lora.modules_to_save or ())


def choose_whole(method: str, outline: PreTrainedModel, saved: Iterable[str]) -> Quantization:
    """Return how a model is quantised of which `outline` is built without weights and `saved` are trained whole."""
    from transformers.quantizers.base import get_keys_to_not_convert

    heads = head_modules(outline) if outline.get_output_embeddings() is None else []
    trained = (*heads, _POOLER, *saved)
    # Paths in full: transformers finds the parts of a module by the beginnings of their paths only.
    within = [path for path, _ in outline.named_modules() if is_within(path, trained)]
    return Quantization(method, tuple(sorted({*get_keys_to_not_convert(outline), *within})))


def loading_options(quantization: Quantization, device: str, dtype: str) -> dict[str, Any]:
    """Return what `from_pretrained` takes to load a model so: on which device, and in which type it is computed."""
    from transformers import BitsAndBytesConfig

    settings: dict[str, Any] = quantization.settings(dtype)
    return {"quantization_config": BitsAndBytesConfig(**settings), "device_map": {"": device}, "dtype": dtype}


def require_quantization(method: str | None, device: str) -> None:
    """Raise DeviceError or ModelError where a base model cannot be quantised so on this machine."""
    if method is None:
        return
    if device == "mps":
        raise DeviceError(
            f"model.quantization {method} runs on CUDA and on CPUs, and this run is on mps",
            "name the device cpu, or train without model.quantization",
        )
    if quantization_version() is None:
        raise ModelError(
            f"model.quantization {method} needs {QUANTIZING_PACKAGE}, which is not installed",
            "install it with: pip install 'finetune30[quantization]'",
        )


def quantization_version() -> str | None:
    """Return the version of bitsandbytes, None where it is not installed."""
    try:
        return version(QUANTIZING_PACKAGE)
    except PackageNotFoundError:
        return None


def use_one_arithmetic(model: nn.Module) -> None:
    """Let evaluation compute as training does; to be called before a loaded model is asked anything.

    On CPUs that multiply bfloat16 matrices, bitsandbytes 0.50 repacks a 4-bit layer at its first evaluation: its scales
    are quantised to bfloat16, whatever is computed in, and gradients no longer pass through it when training goes on.
    """
    for module in model.modules():
        if hasattr(module, _CPU_KERNEL):
            setattr(module, _CPU_KERNEL, False)


def count_weights(parameter: torch.Tensor) -> int:
    """Return how many weights a parameter stands for: two of 4 bits lie in a byte."""
    state: Any = getattr(parameter, "quant_state", None)
    return int(parameter.numel()) if state is None else int(state.shape.numel())
