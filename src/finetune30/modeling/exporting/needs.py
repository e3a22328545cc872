"""What an export needs of this machine and of a model; told without importing what computes."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

from finetune30.errors import ModelError

#: The models that are written as GGUF: what was read by llama.cpp and found equal.
GGUF_ARCHITECTURE = "llama"
INSTEAD_OF_GGUF = "choose --as merged"
_ONNX = ("onnx", "onnxscript", "onnxruntime")


def require_onnx() -> None:
    """Raise ModelError where what writes and reads ONNX is not installed."""
    if missing := [name for name in _ONNX if find_spec(name) is None]:
        raise ModelError(
            f"an export as ONNX needs {', '.join(missing)}, which is not installed",
            "install it with: pip install 'finetune30[onnx]'",
        )


def require_gguf() -> None:
    """Raise ModelError where what writes GGUF is not installed."""
    if find_spec("gguf") is None:
        raise ModelError(
            "an export as GGUF needs gguf, which is not installed", "install it with: pip install 'finetune30[gguf]'"
        )


def require_llama(config: Any) -> None:
    """Raise ModelError unless a model of this configuration is known to come out right as GGUF."""
    rope = getattr(config, "rope_parameters", None) or {}
    wrong = [
        *([f"model type '{config.model_type}'"] if config.model_type != GGUF_ARCHITECTURE else []),
        *([f"rope type '{rope['rope_type']}'"] if rope.get("rope_type", "default") != "default" else []),
        *(["biases"] if getattr(config, "attention_bias", False) or getattr(config, "mlp_bias", False) else []),
    ]
    if wrong:
        raise ModelError(
            f"an export as GGUF is for Llama with plain rotary positions and without biases, and this model has "
            f"{wrong[0]}",
            INSTEAD_OF_GGUF,
        )
