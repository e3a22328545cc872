"""What a comparison found: figures for people, and faults that make what serves another model."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from finetune30.service.parity.gap import Gap
from finetune30.values import say_count

if TYPE_CHECKING:
    import polars as pl

    from finetune30.service.parity.bounds import Bound


@dataclass
class Found:
    """`figures` are JSON values; each of `faults` is a sentence; with any of them the model is refused."""

    figures: dict[str, Any] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)

    def hold(self, name: str, one: NDArray[np.float32], other: NDArray[np.float32], bound: Bound, what: str) -> None:
        """Note how far numbers (n, k) lie from the `other` ones; beyond the bound it is a fault, told as `what`.

        The bound is a share of each row of `other`. What is not finite is a fault whatever stands beside it.
        """
        told: dict[str, Any] = {"rows": len(one), "allowed": bound.row, "allowed_mean": bound.mean}
        unsound = int((~(np.isfinite(one) & np.isfinite(other)).all(axis=1)).sum())
        if unsound:
            self.figures[name] = told | {"not_finite": unsound}
            self.faults.append(f"{what}: the numbers of {unsound} of {say_count(len(one), 'rows are')} not finite")
            return
        scales = bound.scales(other)
        shares = np.abs(one.astype(np.float64) - other) / scales
        self.figures[name] = {**told, **Gap.between(one, other).as_dict()}
        if shares.size and not shares.max() <= bound.row:
            row = int(shares.max(axis=1).argmax())
            far, allowed = float(shares[row].max() * scales[row, 0]), float(bound.row * scales[row, 0])
            self.faults.append(f"{what} by up to {far:.4g}, allowed: {allowed:.4g}")
        if shares.size and not shares.mean() <= bound.mean:
            self.faults.append(f"{what} by {shares.mean():.4g} of its size on average, allowed: {bound.mean:.4g}")

    def add(self, other: Found) -> None:
        """Take over what another comparison found."""
        self.figures |= other.figures
        self.faults += other.faults


@dataclass(frozen=True)
class Referred:
    """A serving reference: rows with what the serving path makes of them, and what holding them together found."""

    rows: pl.DataFrame
    found: Found
