"""Whether an export is the model that it was made of: what its logits may be apart, and what nothing excuses."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from finetune30.errors import SelfTestError
from finetune30.service.exports.measured import Measured

_NOT_PUBLISHED = "nothing was published: keep the adapter (--as zip)"


@dataclass(frozen=True)
class Bound:
    """How far logits of an export may lie from the adapter's, as a share of the largest one above 1.

    `accepted` is a gap that somebody accepts in its place, `by` whom. `keeps_greedy`: whether greedy answers must be
    the adapter's, token by token, save where the adapter itself is undecided between two within the gap.
    """

    share: float
    keeps_greedy: bool = True
    accepted: float | None = None
    by: str = ""

    def allowed(self, scale: float) -> float:
        """Return the largest gap that is published; `scale` is the largest logit of the adapter."""
        return self.accepted if self.accepted is not None else self.share * max(1.0, scale)


def judge(measured: Measured, bound: Bound) -> dict[str, Any]:
    """Return what the receipt says of an export that may be published. Raises SelfTestError, naming every fault."""
    faults = list(measured.faults)
    allowed = bound.allowed(measured.scale)
    if math.isfinite(measured.gap.largest) or not faults:
        if not measured.gap.largest <= allowed:
            faults.append(f"its logits differ by up to {measured.gap.largest:.4g}, allowed: {allowed:.4g}")
        elif (parted := _parted(measured)) is not None and bound.keeps_greedy and parted > 2 * allowed:
            faults.append(f"its greedy answers differ where the adapter is sure by {parted:.4g}")
    if faults:
        flips = measured.figures.get("flips")
        told = "" if flips is None else f" ({flips} flips in {measured.figures['rows']} rows)"
        raise SelfTestError(
            f"the export is not the trained model: {'; '.join(faults)}{told}",
            _NOT_PUBLISHED,
            details={"measured": {**measured.figures, "allowed_gap": allowed}},
        )
    accepted = None if bound.accepted is None else {"gap": bound.accepted, "by": bound.by}
    return {**measured.figures, "allowed_gap": allowed, "accepted": accepted}


def _parted(measured: Measured) -> float | None:
    found: float | None = (measured.figures.get("greedy") or {}).get("margin_where_parted")
    return found
