"""What a comparison found: figures for people, and faults that make what serves another model."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from finetune30.service.parity.gap import Gap

if TYPE_CHECKING:
    import polars as pl


@dataclass
class Found:
    """`figures` are JSON values; each of `faults` is a sentence; with any of them the model is refused."""

    figures: dict[str, Any] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)

    def hold(self, name: str, one: NDArray[np.float32], other: NDArray[np.float32], allowed: float, what: str) -> None:
        """Note how far two arrays of one shape lie apart; beyond what is allowed it is a fault, told as `what`."""
        gap = Gap.between(one, other)
        self.figures[name] = {"rows": len(one), **gap.as_dict(), "allowed": allowed}
        if not gap.largest <= allowed:
            self.faults.append(f"{what} by up to {gap.largest:.4g}, allowed: {allowed:.4g}")

    def add(self, other: Found) -> None:
        """Take over what another comparison found."""
        self.figures |= other.figures
        self.faults += other.faults


@dataclass(frozen=True)
class Referred:
    """A serving reference: rows with what the serving path makes of them, and what holding them together found."""

    rows: pl.DataFrame
    found: Found
