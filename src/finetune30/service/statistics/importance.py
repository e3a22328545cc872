"""How much of what trials differ in goes with each parameter, and how much would by chance.

The share of the variance of the values between groups of trials (correlation ratio, Pearson 1905): a group is a value
of a list, a quarter of the trials in the order of a range, or the trials in which the parameter was not varied. In few
trials of pure noise some parameter seems to explain half; so beside each stands the share that shuffled values reach,
such that in 5 % of shuffles any parameter is above its line (Westfall and Young 1993).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from finetune30.service.statistics.mcnemar import CONFIDENCE

SHUFFLES = 1999
#: Fewer trials tell nothing: shuffles of them are too few.
FEWEST_TRIALS = 8
_PARTS = 4
_SEED = 19050101


@dataclass(frozen=True)
class Importance:
    """`share` of the variance (0-1) that goes with a parameter, and the `line` that chance rarely passes."""

    share: float
    line: float

    @property
    def stands_out(self) -> bool:
        """Whether the share is above what chance makes."""
        return self.share > self.line


def measure_importance(
    values: Sequence[float], labels: Mapping[str, Sequence[float | None]], ranges: frozenset[str] = frozenset()
) -> dict[str, Importance]:
    """Return the importance of every parameter, of one value and one label a trial (None: not varied in it).

    Labels of the parameters in `ranges` are numbers in order, of others names. Empty for fewer than `FEWEST_TRIALS`.
    """
    count = len(values)
    if count < FEWEST_TRIALS:
        return {}
    seen = np.asarray(values, dtype=np.float64)
    generator = np.random.default_rng(_SEED)
    shuffled = np.stack([seen, *(generator.permutation(seen) for _ in range(SHUFFLES))])
    shares = np.stack([_shares(shuffled, _group(given, key in ranges)) for key, given in labels.items()])
    lines = _lines(shares[:, 1:])
    return {key: Importance(float(shares[row, 0]), float(lines[row])) for row, key in enumerate(labels)}


def _group(labels: Sequence[float | None], is_range: bool) -> NDArray[np.int64]:
    """Return the number of each trial's group."""
    known = sorted({label for label in labels if label is not None})
    if is_range and len(known) > _PARTS:
        varied = np.array([label for label in labels if label is not None])
        edges = np.quantile(varied, np.arange(1, _PARTS) / _PARTS)
        return np.array([_PARTS if one is None else int(np.searchsorted(edges, one, side="left")) for one in labels])
    places = {label: place for place, label in enumerate(known)}
    return np.array([len(known) if label is None else places[label] for label in labels])


def _shares(shuffled: NDArray[np.float64], groups: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the share of the variance between groups, row by row of (shuffles, trials)."""
    centred = shuffled - shuffled[0].mean()
    total = float((centred[0] ** 2).sum())
    if total == 0:
        return np.zeros(len(shuffled))
    members = groups[:, None] == np.unique(groups)
    sums = centred @ members.astype(np.float64)
    shares: NDArray[np.float64] = (sums**2 / members.sum(axis=0)).sum(axis=1) / total
    return shares


def _lines(shares: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a line for each parameter, of shares (parameters, shuffles), by one level for all."""
    rarity = np.stack([np.searchsorted(np.sort(-row), -row, side="right") for row in shares])  # how many as large
    most = int(np.quantile(rarity.min(axis=0), 1 - CONFIDENCE, method="lower"))
    found: NDArray[np.float64] = np.sort(shares, axis=1)[:, -max(1, most)]
    return found
