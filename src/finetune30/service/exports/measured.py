"""What an export was measured to be, beside the adapter that it was made of."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from finetune30.service.parity.gap import Gap


@dataclass(frozen=True)
class Measured:
    """`figures`: what the receipt says. `gap` and `scale`: of the logits, and the largest of them.

    `faults`: what makes the export another model, however near its logits are; each is a sentence.
    """

    gap: Gap
    scale: float
    figures: dict[str, Any]
    faults: list[str] = field(default_factory=list)
