"""What an export needs of this machine and of a model; told without importing what computes."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

from finetune30.errors import ModelError

#: Model types that are written as GGUF -> what llama.cpp calls their architecture: what it read and was found equal.
GGUF_ARCHITECTURES = {"llama": "llama", "mistral": "llama", "qwen2": "qwen2", "qwen3": "qwen3"}
#: Scalings of rotary positions that GGUF has words for; Llama 3's is a tensor that llama alone reads.
_ROPE_TYPES = ("default", "linear", "yarn")
_LLAMA_3 = "llama3"
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


def require_gguf_model(config: Any) -> None:
    """Raise ModelError unless a model of this configuration is known to come out right as GGUF."""
    rope = getattr(config, "rope_parameters", None) or {}
    kind = str(rope.get("rope_type") or rope.get("type") or "default")
    architecture = GGUF_ARCHITECTURES.get(config.model_type)
    if architecture is None:
        raise ModelError(
            f"an export as GGUF is for models of type {', '.join(GGUF_ARCHITECTURES)}, and this one is of type "
            f"'{config.model_type}'",
            INSTEAD_OF_GGUF,
        )
    known = (*_ROPE_TYPES, *([_LLAMA_3] if architecture == "llama" else []))
    if kind not in known:
        raise ModelError(
            f"an export as GGUF is for rotary positions of type {', '.join(known)}, and this model's are of type "
            f"'{kind}'",
            INSTEAD_OF_GGUF,
        )
    if rope.get("partial_rotary_factor", 1.0) != 1.0:
        raise ModelError(
            "an export as GGUF is for rotary positions that turn whole heads, and this model's turn a part of each",
            INSTEAD_OF_GGUF,
        )
