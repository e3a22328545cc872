"""What a saved classifier answers with besides its weights: a temperature, and thresholds of its labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Answering:
    """How logits become answers, as labels.json beside the model has it; that of an earlier version has nothing.

    `temperature`: logits are divided by it. `thresholds`: label -> the probability above which it is answered; 0.5 for
    the others.
    """

    temperature: float = 1.0
    thresholds: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def restore(cls, described: Mapping[str, Any]) -> Answering:
        """Read what `as_tree` gave from the tree of labels.json."""
        return cls(described.get("temperature", 1.0), described.get("thresholds", {}))

    def as_tree(self) -> dict[str, Any]:
        """Return what labels.json gets: only what changes answers."""
        return {
            **({} if self.temperature == 1.0 else {"temperature": self.temperature}),
            **({"thresholds": dict(self.thresholds)} if self.thresholds else {}),
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
