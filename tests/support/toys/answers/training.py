"""How a model learns to grade answers: as it learns any classes in an order."""

from __future__ import annotations

from collections.abc import Callable

from finetune30.data.problem import Targets
from finetune30.training.problem import Trainable
from support.toys import ANSWERS
from support.toys.ordinal.training import OrdinalHead


class AnswersHead(OrdinalHead):
    """An output a threshold, over both texts."""

    name = ANSWERS


TRAINABLES: dict[str, Callable[[Targets], Trainable]] = {ANSWERS: AnswersHead}
