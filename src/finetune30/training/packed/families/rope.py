"""Rotary frequencies from a configuration, in the old and the new words of transformers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

#: Llama 3.1's scaling changes slow turns only, once for all (`_compute_llama3_parameters` in transformers).
ROPE_TYPES = ("default", "llama3")


def rope_settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return type, base and scaling of rotary positions; `rope_parameters` is the new word, `rope_scaling` the old."""
    found: dict[str, Any] = dict(config.get("rope_scaling") or {}) | dict(config.get("rope_parameters") or {})
    found["rope_type"] = found.get("rope_type") or found.get("type") or "default"
    found.setdefault("rope_theta", config.get("rope_theta", 10_000.0))
    found.setdefault("partial_rotary_factor", config.get("partial_rotary_factor", 1.0))
    return found


def refuse_rope(config: Mapping[str, Any]) -> str | None:
    """Return why rotary positions of this kind cannot be computed, or None when they can."""
    settings = rope_settings(config)
    if settings["rope_type"] not in ROPE_TYPES:
        return f"rotary positions of type '{settings['rope_type']}' are not one of {', '.join(ROPE_TYPES)}"
    if settings["partial_rotary_factor"] != 1.0:
        return "rotary positions turn a part of each head only"
    return None


def rope_frequencies(config: Mapping[str, Any], head_size: int) -> tuple[float, ...]:
    """Return radians a position for each pair of a head's numbers, (head_size / 2,).

    Computed in float32, as transformers does: a last bit of it is a ten-thousandth of a radian at position 2,048.
    """
    settings = rope_settings(config)
    powers = torch.arange(0, head_size, 2, dtype=torch.float32) / head_size
    speeds = 1.0 / (float(settings["rope_theta"]) ** powers)
    if settings["rope_type"] == "llama3":
        learnt = settings.get("original_max_position_embeddings") or config["max_position_embeddings"]
        speeds = _slow_down(speeds, settings, learnt)
    return tuple(speeds.tolist())


def _slow_down(speeds: Tensor, settings: Mapping[str, Any], learnt: int) -> Tensor:
    """Apply Llama 3.1's scaling: fast turns stay, slow ones are divided, between them is a ramp."""
    low, high, factor = (settings[key] for key in ("low_freq_factor", "high_freq_factor", "factor"))
    lengths = 2 * math.pi / speeds
    slow, fast = lengths > learnt / low, lengths < learnt / high
    kept = (learnt / lengths - low) / (high - low)
    ramp = (1 - kept) * speeds / factor + kept * speeds
    return torch.where(fast, speeds, torch.where(slow, speeds / factor, ramp))
