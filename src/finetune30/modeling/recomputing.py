"""Layers that keep their input only and are computed again on the way back."""

from __future__ import annotations

from typing import Any


def recompute_layers(model: Any) -> None:
    """Switch that on for a model of transformers, whose word for it changed after 5.17.

    Without reentrance: a frozen input needs no gradient of its own for LoRA above it to get one.
    """
    how = {"use_reentrant": False}
    if hasattr(model, "activation_checkpointing_enable"):
        model.activation_checkpointing_enable(activation_checkpointing_kwargs=how)
    else:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs=how)
