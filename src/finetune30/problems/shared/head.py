"""Models with a classification head, one target a row: what their problems have in common.

A step is divided by its rows. The outputs of all evaluation rows are kept: a few numbers a row.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from copy import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from finetune30.data.problem import Card, label_names
from finetune30.modeling.families import head_labels, order_by_head
from finetune30.modeling.names import PEFT_TASK_TYPE
from finetune30.problems.shared.class_options import refuse_class_options
from finetune30.training.problem import Answer, Conclusion, Doubt, Evaluation, Trainable

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

    from finetune30.config import ExperimentConfig
    from finetune30.data.encoding import EncodedSplit
    from finetune30.data.problem import Score, Targets
    from finetune30.modeling.base import BaseSource
    from finetune30.modeling.devices import Placement
    from finetune30.modeling.predictor import Predictor
    from finetune30.training.engine import Engine

_NAMES_ON_CARD = 20


class TextHead(ABC):
    """See `finetune30.training.problem.Trainable`; a problem adds its losses, its metrics and its answers."""

    name: str
    score: Score
    #: How its card reads an answer from logits, see `Card.reading`.
    reading = Card.reading
    #: See `Card.confidence`.
    confidence = Card.confidence
    #: See `Card.threshold`.
    threshold: float | None = None
    peft_task_type = PEFT_TASK_TYPE
    trains_head = True
    scores_tokens = False

    def __init__(self, targets: Targets) -> None:
        self.targets = targets
        self.label_names = label_names(targets)

    def with_base(self, source: BaseSource, config: ExperimentConfig, log: Callable[[str], None]) -> Trainable:
        """Return itself: a head is asked the same of any base. Raises ConfigError for options of classifiers."""
        refuse_class_options(config.training, self.name)
        return self

    def build_encoder(self, source: BaseSource, known_tokens: int) -> Any | None:
        """Return None: texts are read as they are."""
        return None

    def follow_head(self, source: BaseSource, log: Callable[[str], None]) -> Trainable:
        """Return itself with the labels in the order of the head that a checkpoint has for the same labels.

        So the rows of such a head go on meaning what they mean, and its own configuration stays true. Where its labels
        are others, as many, the log says which row stands for which.
        """
        return self._follow(head_labels(source.load_json("config.json")), f"the head of '{source.name}'", log)

    def follow_adapter(self, targets: Targets, folder: str, log: Callable[[str], None]) -> Trainable:
        """Return itself with the labels in the order of the head that a saved adapter has for the same labels."""
        return self._follow(label_names(targets), f"the head in {folder}", log)

    def _follow(self, theirs: tuple[str, ...], head: str, log: Callable[[str], None]) -> Trainable:
        names = self.label_names
        if not names or len(theirs) != len(names):
            return self
        if order := order_by_head(names, theirs):
            if order == names:
                return self
            log(f"labels: in the order of {head}: {', '.join(order)}")
            ordered = copy(self)
            ordered.targets, ordered.label_names = {**self.targets, "label_names": list(order)}, order
            return ordered
        pairs = ", ".join(f"{old} as {new}" for old, new in zip(theirs, names, strict=True))
        log(f"labels: {head} is trained further, under other labels: {pairs}")
        return self

    def with_baseline_of(self, train: EncodedSplit) -> Trainable:
        """Return itself: what results are held against is told by the evaluation alone, unless a problem says more."""
        return self

    @property
    def head_outputs(self) -> int | None:
        """Outputs of the head: one a class, or one."""
        return len(self.label_names) or 1

    def load_model(self, source: BaseSource, pad_token_id: int) -> tuple[PreTrainedModel, list[str]]:
        """Load the base with a head for the targets; return it and the names of new weights."""
        from finetune30.modeling.classifier import load_classifier

        return load_classifier(
            source,
            label_names=self.label_names,
            num_labels=self.head_outputs or 1,
            problem_type=self.name,
            pad_token_id=pad_token_id,
        )

    def outputs(self, model: PreTrainedModel, inputs: Mapping[str, Tensor], targets: Tensor) -> Tensor:
        """Return the logits, (B, head_outputs)."""
        logits: Tensor = model(**inputs).logits
        return logits

    def card(self) -> Card:
        """Return what the saved model's card says about it."""
        names = self.label_names
        shown = ", ".join(f"{i} `{name}`" for i, name in enumerate(names[:_NAMES_ON_CARD]))
        outputs = self.head_outputs
        return Card(
            task=f"text {self.name.replace('_', ' ')}",
            answers=(shown + (" …" if len(names) > _NAMES_ON_CARD else "")) or "a number",
            pipeline_tag="text-classification",
            auto_class="AutoPeftModelForSequenceClassification",
            arguments=f", num_labels={outputs}, ignore_mismatched_sizes=True",  # the base may have a head of its own
            reading=self.reading,
            confidence=self.confidence,
            threshold=self.threshold,
        )

    def load_saved(self, folder: str, **options: Any) -> PreTrainedModel:
        """Load a saved adapter; the number of labels is passed on because an adapter folder does not carry it."""
        from peft import AutoPeftModelForSequenceClassification

        model: PreTrainedModel = AutoPeftModelForSequenceClassification.from_pretrained(
            folder, num_labels=self.head_outputs, ignore_mismatched_sizes=True, **options
        )
        return model

    def open_saved(self, folder: Path, placement: Placement) -> Predictor:
        """Load a saved model, ready to be asked texts."""
        from finetune30.modeling.predictor import Predictor

        return Predictor(folder, placement, self.load_saved)

    def weight(self, split: EncodedSplit, rows: NDArray[np.int64]) -> float:
        """Return the number of rows."""
        return float(len(rows))

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the sum of the rows' losses in training, 0-d."""
        return self.training_losses(outputs, targets).sum()

    def training_losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the loss of each row as it is learnt from, (B,): that of an evaluation unless rows are weighed."""
        return self.row_losses(outputs, targets)

    def evaluate(self, engine: Engine, split: EncodedSplit, batch_size: int) -> Evaluation:
        """Evaluate every row; eval_loss is the mean over rows."""
        import torch

        from finetune30.training.evaluation import predict_outputs

        outputs = predict_outputs(engine, split, batch_size)
        losses = self.row_losses(torch.from_numpy(outputs), torch.from_numpy(split.targets))
        metrics = {f"eval_{key}": value for key, value in self.measure(outputs, split.targets).items()}
        unsound = [name for name, row in zip(split.row_ids, outputs, strict=True) if not np.isfinite(row).all()]
        doubts = () if unsound else tuple(self.doubts(outputs, split.targets))
        return Evaluation({"eval_loss": float(losses.double().mean()), **metrics}, len(split), outputs, unsound, doubts)

    def conclude(
        self, engine: Engine, train: EncodedSplit, evaluation: EncodedSplit, last: Evaluation, batch_size: int
    ) -> Conclusion:
        """Return nothing more: the evaluation says all."""
        return Conclusion()

    def probe(self, outputs: NDArray[np.float32], attention_mask: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the logits themselves."""
        return outputs

    def answer(self, model: Predictor, texts: list[str], pairs: list[str] | None, batch_size: int) -> list[Answer]:
        """Answer texts (or pairs)."""
        return self.answers(model.answer_logits(texts, pairs, batch_size))

    def doubts(self, outputs: NDArray[np.float32], targets: NDArray[Any]) -> list[Doubt]:
        """Return reasons to think that nothing was learnt, none unless a problem knows some.

        Outputs (n, head_outputs), finite.
        """
        return []

    @abstractmethod
    def row_losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the loss of each row, (B,); outputs float (B, head_outputs)."""

    @abstractmethod
    def measure(self, outputs: NDArray[np.float32], targets: NDArray[Any]) -> dict[str, Any]:
        """Return metrics without the `eval_` prefix; outputs (n, head_outputs)."""

    @abstractmethod
    def answers(self, outputs: NDArray[np.float32]) -> list[Answer]:
        """Return the answer of each row of outputs (n, head_outputs)."""
