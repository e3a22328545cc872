"""Classification as models learn it: cross entropy over classes, or binary cross entropy for each."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from finetune30.problems.classification.decisions import (
    MULTI_NAME,
    MULTI_SCORE,
    SINGLE_NAME,
    SINGLE_SCORE,
    decide_one,
    decide_several,
    sigmoid,
    softmax,
)
from finetune30.problems.classification.doubts import doubt_multi_label, doubt_single_label
from finetune30.problems.classification.metrics import measure_multi_label, measure_single_label
from finetune30.problems.shared.head import TextHead
from finetune30.training.problem import Answer, Doubt

if TYPE_CHECKING:
    from torch import Tensor

    from finetune30.data.problem import Targets
    from finetune30.training.problem import Trainable


class SingleLabelHead(TextHead):
    """One class a row: targets int64 (n,)."""

    name = SINGLE_NAME
    score = SINGLE_SCORE
    reading = "names[int(logits.argmax())]"

    def row_losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the cross entropy of each row."""
        from torch.nn import functional

        return functional.cross_entropy(outputs, targets, reduction="none")

    def measure(self, outputs: NDArray[np.float32], targets: NDArray[Any]) -> dict[str, Any]:
        """Return the metrics of single-label classification."""
        return measure_single_label(decide_one(outputs), targets, len(self.label_names))

    def doubts(self, outputs: NDArray[np.float32], targets: NDArray[Any]) -> list[Doubt]:
        """Doubt one class for every row, and an accuracy like that of the most frequent class."""
        return doubt_single_label(decide_one(outputs), targets, self.label_names)

    def answers(self, outputs: NDArray[np.float32]) -> list[Answer]:
        """Return the most probable class."""
        chosen = decide_one(outputs)
        return [
            _answer(self.label_names, [self.label_names[best]], row)
            for best, row in zip(chosen, softmax(outputs), strict=True)
        ]


class MultiLabelHead(TextHead):
    """Any number of classes a row: targets float32 (n, classes) of 0 and 1; a row's loss is the mean over classes."""

    name = MULTI_NAME
    score = MULTI_SCORE
    reading = "[name for name, logit in zip(names, logits.tolist()) if logit > 0]"

    def row_losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the mean binary cross entropy of each row."""
        from torch.nn import functional

        wanted = targets.to(outputs.dtype)
        return functional.binary_cross_entropy_with_logits(outputs, wanted, reduction="none").mean(dim=-1)

    def measure(self, outputs: NDArray[np.float32], targets: NDArray[Any]) -> dict[str, Any]:
        """Return the metrics of multi-label classification."""
        return measure_multi_label(decide_several(outputs), targets.astype(bool), self.label_names)

    def doubts(self, outputs: NDArray[np.float32], targets: NDArray[Any]) -> list[Doubt]:
        """Doubt one set of classes for every row, and scores like those of the most frequent set."""
        return doubt_multi_label(decide_several(outputs), targets.astype(bool), self.label_names)

    def answers(self, outputs: NDArray[np.float32]) -> list[Answer]:
        """Return the classes that are more probable than not."""
        names = np.asarray(self.label_names, dtype=object)
        return [
            _answer(self.label_names, names[chosen].tolist(), row)
            for chosen, row in zip(decide_several(outputs), sigmoid(outputs), strict=True)
        ]


def _answer(names: tuple[str, ...], chosen: list[str], shares: NDArray[np.float32]) -> Answer:
    probabilities = {name: round(float(share), 6) for name, share in zip(names, shares, strict=True)}
    return Answer(
        tree={"labels": chosen, "probabilities": probabilities},
        cells={"prediction": "|".join(chosen), **{f"p_{name}": share for name, share in probabilities.items()}},
        line=f"{', '.join(chosen) or '(none)'}\t{max(probabilities.values()):.4f}",
    )


TRAINABLES: dict[str, Callable[[Targets], Trainable]] = {SINGLE_NAME: SingleLabelHead, MULTI_NAME: MultiLabelHead}
