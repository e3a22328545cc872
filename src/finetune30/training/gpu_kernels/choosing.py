"""Whether the kernels for GPUs compute a training on the general path."""

from __future__ import annotations

import importlib.util
import os
from importlib.metadata import version
from typing import TYPE_CHECKING, Literal

from finetune30.errors import ModelError, first_line
from finetune30.modeling.memory import is_out_of_memory

if TYPE_CHECKING:
    from finetune30.training.general import GeneralEngine

GpuKernels = Literal["auto", "on", "off"]
#: Counted up when their results change in the last bits, so that no run of before is gone on with by them.
_VERSION = 1


def choose_kernels(engine: GeneralEngine, wanted: GpuKernels) -> str:
    """Put the kernels into an engine's model where they are wanted and can be; return why, or what they compute.

    `engine.kernels` says afterwards which ones they are. Raises ModelError where they have to be and cannot be.
    """
    if wanted == "off":
        return "as configured"
    reason = _find_obstacle(engine)
    if reason is not None:
        return decline_kernels(wanted, reason)
    try:
        found = engine.use_kernels()
    except Exception as error:  # whatever a compiler, a driver or a model of its own kind raises
        if is_out_of_memory(error):
            raise
        return decline_kernels(wanted, f"they cannot be run here ({first_line(error)})")
    if not found:
        kind = engine.model.config.model_type
        return decline_kernels(wanted, f"models of type '{kind}' have nothing that they compute")
    engine.kernels = f"{_VERSION}, Triton {version('triton')}"
    return ", ".join(f"{count} {name}" for name, count in found.items())


def decline_kernels(wanted: GpuKernels, reason: str) -> str:
    """Return the reason why there are none. Raises ModelError with it where they have to be."""
    if wanted == "on":
        raise ModelError(f"training.gpu_kernels is on, but {reason}", "set training.gpu_kernels to auto or off")
    return reason


def _find_obstacle(engine: GeneralEngine) -> str | None:
    # Triton's interpreter takes the tensors of a CPU: slow beyond use, and how the kernels are tested without a GPU.
    interprets = engine.device == "cpu" and os.environ.get("TRITON_INTERPRET") == "1"
    if not (engine.device.startswith("cuda") or interprets):
        return f"they are for NVIDIA GPUs, and the device is {engine.device}"
    if engine.precision == "fp16":
        return "they compute in bf16 and fp32, and the precision is fp16"
    if importlib.util.find_spec("triton") is None:
        return "Triton is not installed"
    return None
