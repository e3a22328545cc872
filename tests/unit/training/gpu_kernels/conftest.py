"""Triton's interpreter rounds to bfloat16 towards zero, GPUs to the nearest number: here it does as they do."""

from __future__ import annotations

import importlib.util
from typing import Any

import numpy as np
import pytest
import torch


@pytest.fixture(autouse=True)
def rounded_to_nearest(monkeypatch: pytest.MonkeyPatch) -> None:
    if importlib.util.find_spec("triton") is None:
        return
    import triton.language as tl
    from triton.runtime import interpreter

    plain = interpreter._convert_float

    def convert(values: Any, given: Any, wanted: Any, mode: Any) -> Any:
        if (given, wanted) != (tl.float32, tl.bfloat16):
            return plain(values, given, wanted, mode)
        rounded = torch.from_numpy(np.array(values, dtype=np.float32)).to(torch.bfloat16)
        return rounded.view(torch.uint16).numpy()

    monkeypatch.setattr(interpreter, "_convert_float", convert)
