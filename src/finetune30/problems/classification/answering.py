"""What a saved classifier answers with besides its weights: temperature, thresholds, how sure it is to be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from finetune30.problems.classification.decisions import decide_one, decide_several, sigmoid, softmax


@dataclass(frozen=True)
class Decided:
    """What logits of n rows were taken for: `chosen` bool (n, classes), `shares` the probabilities (n, classes).

    All in float64. `confidence` (n,) is the probability of what was decided: of several labels, that of the least
    probable decision.
    """

    chosen: NDArray[np.bool_]
    shares: NDArray[np.float64]
    confidence: NDArray[np.float64]


@dataclass(frozen=True)
class Answering:
    """How logits become answers, as labels.json beside the model has it; that of an earlier version has nothing.

    `temperature`: logits are divided by it. `thresholds`: label -> the probability above which it is answered; 0.5 for
    the others. `least_confidence`: a decision that is less probable is not given as an answer.
    """

    temperature: float = 1.0
    thresholds: Mapping[str, float] = field(default_factory=dict)
    least_confidence: float = 0.0

    @classmethod
    def restore(cls, described: Mapping[str, Any]) -> Answering:
        """Read what `as_tree` gave from the tree of labels.json."""
        return cls(
            described.get("temperature", 1.0), described.get("thresholds", {}), described.get("least_confidence", 0.0)
        )

    def as_tree(self) -> dict[str, Any]:
        """Return what labels.json gets: only what changes answers."""
        return {
            **({} if self.temperature == 1.0 else {"temperature": self.temperature}),
            **({"thresholds": dict(self.thresholds)} if self.thresholds else {}),
            **({"least_confidence": self.least_confidence} if self.least_confidence else {}),
        }

    def scale(self, logits: NDArray[Any]) -> NDArray[Any]:
        """Return the logits of which probabilities are made: (n, classes) in their own dtype."""
        return logits if self.temperature == 1.0 else np.asarray(logits / logits.dtype.type(self.temperature))

    def shift(self, scaled: NDArray[Any], label_names: Sequence[str]) -> NDArray[Any]:
        """Return the scaled logits (n, classes) from which labels are decided: 0, or a tie, is at the thresholds."""
        if not self.thresholds:
            return scaled
        shares = np.array([self.thresholds.get(name, 0.5) for name in label_names])
        return np.asarray(scaled - np.log(shares / (1.0 - shares)).astype(scaled.dtype))

    def decide(self, logits: NDArray[Any], label_names: Sequence[str], *, several: bool) -> Decided:
        """Return what logits (n, classes) are taken for; `several`: each label is decided by itself.

        In float64, as thresholds and the least confidence were chosen.
        """
        scaled = self.scale(logits.astype(np.float64))
        shifted = self.shift(scaled, label_names)
        if several:
            chosen, shares = decide_several(shifted), sigmoid(scaled)
            return Decided(chosen, shares, np.where(chosen, shares, 1 - shares).min(axis=1))
        best, shares = decide_one(shifted), softmax(scaled)
        chosen = best[:, None] == np.arange(shares.shape[1])
        return Decided(chosen, shares, shares[np.arange(len(best)), best])
