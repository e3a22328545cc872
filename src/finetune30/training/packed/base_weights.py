"""Base weights straight from safetensors, without building a model that would be taken apart again."""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from torch import Tensor

from finetune30.training.packed.family import EncoderFamily

_INDEX_FILE = "model.safetensors.index.json"
_WEIGHTS_FILE = "model.safetensors"


class BaseWeights:
    """The open weight files of a checkpoint; a context manager.

    Checkpoints of the bare encoder leave out the prefix ("bert."), and the oldest ones call a norm's weight and bias
    gamma and beta; both are found under the classifier's names.
    """

    def __init__(self, folder: Path, family: EncoderFamily) -> None:
        from safetensors import safe_open

        self._prefix = family.prefix + "."
        self._files: dict[str, Any] = {}
        with ExitStack() as stack:
            for path in weight_files(folder):
                opened = stack.enter_context(safe_open(path, framework="pt"))
                self._files.update(dict.fromkeys(opened.keys(), opened))
            self._stack = stack.pop_all()

    def __enter__(self) -> BaseWeights:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._files.clear()
        self._stack.close()

    def shape(self, name: str) -> tuple[int, ...] | None:
        """Return the shape of a weight, or None when the checkpoint lacks it."""
        found = self._find(name)
        return None if found is None else tuple(self._files[found].get_slice(found).get_shape())

    def load(self, name: str, dtype: torch.dtype, factor: float = 1.0) -> Tensor:
        """Return `factor` times a weight, in this data type; raises KeyError when it is missing."""
        found = self._find(name)
        if found is None:
            raise KeyError(name)
        tensor: Tensor = self._files[found].get_tensor(found)
        if factor != 1.0:
            return (tensor.to(torch.promote_types(dtype, torch.float32)) * factor).to(dtype)
        # A copy even in the same type: a view would keep the whole file mapped.
        return tensor.to(dtype, copy=True)

    def _find(self, name: str) -> str | None:
        bare = name.removeprefix(self._prefix)
        for candidate in (name, bare):
            old = candidate.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")
            for spelling in (candidate, old):
                if spelling in self._files:
                    return spelling
        return None


def weight_files(folder: Path) -> list[Path]:
    """Return the safetensors files of a checkpoint; empty when it is laid out in another way."""
    index = folder / _INDEX_FILE
    if index.is_file():
        names = json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()
        return [folder / name for name in dict.fromkeys(names)]
    return [folder / _WEIGHTS_FILE] if (folder / _WEIGHTS_FILE).is_file() else []


def backbone_shapes(family: EncoderFamily) -> dict[str, tuple[int, ...]]:
    """Return name and shape of every weight of the encoder (without its head)."""
    hidden, inner, path = family.hidden_size, family.intermediate_size, family.embeddings_path
    shapes: dict[str, tuple[int, ...]] = {f"{path}.position_embeddings.weight": (family.position_count, hidden)}
    if family.type_count:
        shapes[f"{path}.token_type_embeddings.weight"] = (family.type_count, hidden)
    linear = {"feed_forward_in": (inner, hidden), "feed_forward_out": (hidden, inner)}
    norms = [f"{path}.LayerNorm"]
    for layer in range(family.layer_count):
        for role in family.modules:
            module = family.module_path(layer, role)
            if role.endswith("_norm"):
                norms.append(module)
                continue
            shape = linear.get(role, (hidden, hidden))
            shapes |= {f"{module}.weight": shape, f"{module}.bias": shape[:1]}
    for norm in norms:
        shapes |= {f"{norm}.weight": (hidden,), f"{norm}.bias": (hidden,)}
    return shapes
