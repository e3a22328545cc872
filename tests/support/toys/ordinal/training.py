"""How a model learns thresholds: each is a yes or no of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from finetune30.data.problem import Targets
from finetune30.problems.shared.head import TextHead
from finetune30.training.problem import Answer, Trainable
from support.toys import ORDINAL
from support.toys.ordinal import SCORE

if TYPE_CHECKING:
    from finetune30.modeling.base import BaseSource


class OrdinalHead(TextHead):
    """An output a threshold."""

    name = ORDINAL
    score = SCORE

    def follow_head(self, source: BaseSource, log: Callable[[str], None]) -> Trainable:
        return self  # the order of the classes is what is learnt

    def follow_adapter(self, targets: Targets, folder: str, log: Callable[[str], None]) -> Trainable:
        return self

    @property
    def head_outputs(self) -> int:
        return int(self.targets["thresholds"])

    def row_losses(self, outputs: Any, targets: Any) -> Any:
        import torch
        from torch.nn import functional

        above = (targets[:, None] > torch.arange(self.head_outputs, device=targets.device)).to(outputs.dtype)
        return functional.binary_cross_entropy_with_logits(outputs, above, reduction="none").sum(dim=-1)

    def measure(self, outputs: NDArray[np.float32], targets: NDArray[Any]) -> dict[str, Any]:
        return {"steps_off": float(np.abs((outputs > 0).sum(axis=1) - targets).mean())}

    def answers(self, outputs: NDArray[np.float32]) -> list[Answer]:
        names = [self.label_names[above] for above in (outputs > 0).sum(axis=1)]
        return [Answer({"grade": name}, {"grade": name}, name) for name in names]


TRAINABLES: dict[str, Callable[[Targets], Trainable]] = {ORDINAL: OrdinalHead}
