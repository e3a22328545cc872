"""Base weights straight from safetensors, without building a model that would be taken apart again.

The files are read, not mapped into memory: mapped pages would stay resident beside the copies laid out for products.
The format is a little-endian header length (8 bytes), a JSON header and the data:
https://huggingface.co/docs/safetensors/index#format
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from finetune30.errors import ModelError
from finetune30.modeling.model_files import COPY_AGAIN, weight_files

_DTYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


@dataclass(frozen=True)
class _Place:
    """Where a tensor lies: bytes from `start` on in a file."""

    file: Path
    start: int
    shape: tuple[int, ...]
    dtype: torch.dtype

    def read(self) -> Tensor:
        """Read the tensor into memory of its own."""
        size = math.prod(self.shape) * self.dtype.itemsize
        data = np.fromfile(self.file, dtype=np.uint8, count=size, offset=self.start)
        if data.size != size:
            raise ModelError(f"'{self.file}' ends within its weights", COPY_AGAIN)
        return torch.from_numpy(data).view(self.dtype).view(self.shape)


class BaseWeights:
    """The weights of a checkpoint, found by their names in the sequence classifier or another of their `spellings`.

    Raises ModelError when a file is no safetensors file.
    """

    def __init__(self, folder: Path, spellings: Callable[[str], Iterable[str]]) -> None:
        self._spellings = spellings
        self._places: dict[str, _Place] = {}
        for file in weight_files(folder):
            self._places |= _load_places(file)

    def shape(self, name: str) -> tuple[int, ...] | None:
        """Return the shape of a weight, or None when the checkpoint lacks it."""
        found = self._find(name)
        return None if found is None else self._places[found].shape

    def load(self, name: str, dtype: torch.dtype, factor: float = 1.0) -> Tensor:
        """Return `factor` times a weight, in this data type; raises KeyError when it is missing."""
        found = self._find(name)
        if found is None:
            raise KeyError(name)
        tensor = self._places[found].read()
        if factor != 1.0:
            tensor = tensor.to(torch.promote_types(dtype, torch.float32)).mul_(factor)
        return tensor.to(dtype)

    def _find(self, name: str) -> str | None:
        return next((spelling for spelling in self._spellings(name) if spelling in self._places), None)


def _load_places(file: Path) -> dict[str, _Place]:
    """Read the header of a safetensors file; tensors that are not of floating point are left out."""
    try:
        with file.open("rb") as handle:
            length = int.from_bytes(handle.read(8), "little")
            header = json.loads(handle.read(min(length, file.stat().st_size)))
        return {
            name: _Place(file, 8 + length + entry["data_offsets"][0], tuple(entry["shape"]), _DTYPES[entry["dtype"]])
            for name, entry in header.items()
            if name != "__metadata__" and entry["dtype"] in _DTYPES
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"'{file}' is not a safetensors file: {error}", COPY_AGAIN) from error
