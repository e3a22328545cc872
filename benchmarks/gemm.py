"""The machine's limit for matrix products, and how many operations a training step really needs."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from functools import partial
from itertools import product
from typing import TYPE_CHECKING

from benchmarks.contender import CLOCK

if TYPE_CHECKING:
    from finetune30.training.packed.parts.linear import FrozenLinear

ROUNDS = 5
#: Rows, inputs, outputs: from the step's own sizes at batch 16 up to sizes that nothing in it reaches.
SHAPES = ((256, 768, 3072), (512, 3072, 768), (1024, 1024, 4096), (2048, 2048, 2048))


def measure_limit(precision: str) -> float:
    """Return the best rate of large products in this precision, in operations per second, whoever multiplies.

    Weights are laid out once: by oneDNN, and by our own kernels where there are any.
    """
    import torch

    from finetune30.training.packed.native.library import find_kernels
    from finetune30.training.packed.native.linear import NativeLinear
    from finetune30.training.packed.parts.linear import build_frozen_linear

    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[precision]
    kernels = find_kernels(dtype)
    builders: list[Callable[..., FrozenLinear]] = [build_frozen_linear]
    if kernels is not None and kernels.has_products:
        builders.append(partial(NativeLinear, kernels))
    best = 0.0
    for build, (rows, inputs, outputs) in product(builders, SHAPES):
        weight, bias = torch.randn(outputs, inputs).to(dtype), torch.zeros(outputs, dtype=dtype)
        linear = build(weight, bias, needs_input_gradient=False)
        batch = torch.randn(rows, inputs).to(dtype)
        linear.forward(batch)
        repeats = max(1, int(2e10 / (2 * rows * inputs * outputs)))
        for _ in range(ROUNDS):
            started = CLOCK()
            for _ in range(repeats):
                linear.forward(batch)
            best = max(best, repeats * 2 * rows * inputs * outputs / (CLOCK() - started))
    return best


def needed_operations(tokens: float, rows: float, *, hidden: int = 768, inner: int = 3072, layers: int = 6) -> float:
    """Return the floating-point operations of the frozen products for real tokens, forwards and backwards.

    Counted once per multiply and add, without padding. The last layer needs keys and values of all tokens and
    everything else for one token a row; the first trained layer needs no gradient below its query, key and value.
    Attention, LoRA and the head are left out: so the share of the limit is stated too low rather than too high.
    """
    square, wide = hidden * hidden, hidden * inner
    full = 4 * square + 2 * wide
    forward = (layers - 1) * full * tokens + 2 * square * tokens + (2 * square + 2 * wide) * rows
    backward = forward - 3 * square * tokens
    return 2.0 * (forward + backward)


if __name__ == "__main__":
    print(json.dumps({precision: measure_limit(precision) for precision in sys.argv[1:]}))
