"""Random streams seeded, and states of a training reduced to a digest."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch


def seed_everything(seed: int) -> None:
    """Seed python, numpy and torch (all devices)."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


@contextmanager
def preserved_streams() -> Iterator[None]:
    """Give the block the random streams of python, numpy and torch's CPU, and put them back as they were.

    Evaluation draws nothing itself, but libraries that it imports the first time may.
    """
    python, numpy, cpu = random.getstate(), np.random.get_state(), torch.get_rng_state()
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
        torch.set_rng_state(cpu)


def digest_tensors(state: dict[str, Any]) -> str:
    """Return the sha256 over names, types, shapes and bytes of tensors (and JSON values), in order of name."""
    digest = hashlib.sha256()
    for name, value in sorted(state.items()):
        if isinstance(value, torch.Tensor):
            digest.update(f"{name}:{value.dtype}:{tuple(value.shape)}:".encode())
            digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
        else:
            digest.update(f"{name}:{json.dumps(value)}".encode())
    return digest.hexdigest()
