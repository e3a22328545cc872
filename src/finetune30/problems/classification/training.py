"""Classification as models learn it: cross entropy over classes, or binary cross entropy for each."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from copy import copy
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from finetune30.problems.classification.answering import Answering
from finetune30.problems.classification.class_weights import Weights, weigh_classes, weigh_presence
from finetune30.problems.classification.concluding import AnswerOptions, conclude_classes
from finetune30.problems.classification.decisions import (
    MULTI_NAME,
    MULTI_SCORE,
    SINGLE_NAME,
    SINGLE_SCORE,
    decide_one,
    decide_several,
)
from finetune30.problems.classification.doubts import doubt_multi_label, doubt_single_label
from finetune30.problems.classification.judging import judge_answers
from finetune30.problems.classification.metrics import measure_multi_label, measure_single_label
from finetune30.problems.shared.head import TextHead
from finetune30.training.problem import Answer, Conclusion, Doubt, Evaluation

if TYPE_CHECKING:
    from torch import Tensor

    from finetune30.config import ExperimentConfig
    from finetune30.data.encoding import EncodedSplit
    from finetune30.data.problem import Targets
    from finetune30.modeling.base import BaseSource
    from finetune30.modeling.predictor import Predictor
    from finetune30.training.engine import Engine
    from finetune30.training.problem import Trainable

#: How weights alone answer.
_AS_TRAINED = Answering()
#: Why a question has no answer: the code beside it, and what is said in its place.
NOT_SURE = "not_sure"
_NOT_SURE = "the model is not sure enough: answers like this one are wrong too often"


class ClassHead(TextHead):
    """Classes that may be weighed and smoothed in training, and whose probabilities are held against what was right."""

    #: Whether each label is decided by itself.
    decides_several: bool
    _wanted_weights: Weights = None
    _weights: NDArray[np.float32] | None = None
    _smoothing = 0.0
    _answer_options = AnswerOptions()

    def with_base(self, source: BaseSource, config: ExperimentConfig, log: Callable[[str], None]) -> Trainable:
        """Return itself with what the configuration says of classes. Raises ConfigError for thresholds of many."""
        known, training = copy(self), config.training
        known._wanted_weights, known._smoothing = training.class_weights, training.label_smoothing
        known._answer_options = AnswerOptions.choose(training, self.label_names, several=self.decides_several)
        return known

    def with_baseline_of(self, train: EncodedSplit) -> Trainable:
        """Return itself with the weights of classes by the training rows. Raises ConfigError for unknown labels."""
        known = copy(self)
        known._weights = self.weigh(train.targets)
        return known

    def training_losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the loss of each row, weighted and smoothed as the configuration says."""
        if self._weights is None and not self._smoothing:
            return self.row_losses(outputs, targets)
        import torch

        weights = None if self._weights is None else torch.from_numpy(self._weights).to(outputs)
        return self.weighted_losses(outputs, targets, weights, self._smoothing)

    def conclude(
        self, engine: Engine, train: EncodedSplit, evaluation: EncodedSplit, last: Evaluation, batch_size: int
    ) -> Conclusion:
        """Return how far probabilities can be believed, and what answers are given with besides the weights."""
        assert last.outputs is not None  # noqa: S101 - `evaluate` keeps them
        metrics, answering = conclude_classes(
            last.outputs,
            evaluation.targets,
            self.label_names,
            self._answer_options,
            several=self.decides_several,
            chosen_of=last.chosen_of,
        )
        if self._weights is not None:
            metrics["class_weights"] = dict(zip(self.label_names, map(float, self._weights), strict=True))
        return Conclusion(metrics, answering=answering.as_tree())

    def answer(self, model: Predictor, texts: list[str], pairs: list[str] | None, batch_size: int) -> list[Answer]:
        """Answer texts (or pairs) by what is saved with the model: temperature, thresholds, how sure it is to be."""
        return self.answers(model.answer_logits(texts, pairs, batch_size), Answering.restore(model.described))

    def judge_answers(
        self, outputs: NDArray[np.float32], targets: NDArray[Any], described: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Return what the answers are worth that are given by what is saved with the model; see `judge_answers`."""
        answering = Answering.restore(described)
        return judge_answers(outputs, targets, self.label_names, answering, several=self.decides_several)

    def answers(self, outputs: NDArray[np.float32], answering: Answering = _AS_TRAINED) -> list[Answer]:
        """Return the answer of each row of outputs (n, head_outputs); none where it is less sure than it is to be."""
        decided, names = answering.decide(outputs, self.label_names, several=self.decides_several), self.label_names
        labels = np.asarray(names, dtype=object)
        return [
            _answer(names, labels[chosen].tolist(), shares, sure, is_given=bool(sure >= answering.least_confidence))
            for chosen, shares, sure in zip(decided.chosen, decided.shares, decided.confidence, strict=True)
        ]

    @abstractmethod
    def weigh(self, targets: NDArray[Any]) -> NDArray[np.float32] | None:
        """Return the weights of classes, float32 (classes,), for the targets of the training rows; None: none."""

    @abstractmethod
    def weighted_losses(self, outputs: Tensor, targets: Tensor, weights: Tensor | None, smoothing: float) -> Tensor:
        """Return the loss of each row, (B,), with weights (classes,) and a share of each target that goes to all."""


class SingleLabelHead(ClassHead):
    """One class a row: targets int64 (n,)."""

    name = SINGLE_NAME
    score = SINGLE_SCORE
    reading = "names[int(logits.argmax())]"
    confidence = "scaled.softmax(-1)[logits.argmax()]"
    decides_several = False

    def weigh(self, targets: NDArray[Any]) -> NDArray[np.float32] | None:
        """Return weights that are 1 on average over the rows."""
        return weigh_classes(self._wanted_weights, targets, self.label_names)

    def weighted_losses(self, outputs: Tensor, targets: Tensor, weights: Tensor | None, smoothing: float) -> Tensor:
        """Return the smoothed cross entropy of each row, times the weight of its label."""
        from torch.nn import functional

        losses = functional.cross_entropy(outputs, targets, reduction="none", label_smoothing=smoothing)
        return losses if weights is None else losses * weights[targets]

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


class MultiLabelHead(ClassHead):
    """Any number of classes a row: targets float32 (n, classes) of 0 and 1; a row's loss is the mean over classes."""

    name = MULTI_NAME
    score = MULTI_SCORE
    reading = "[name for name, logit in zip(names, logits.tolist()) if logit > 0]"
    confidence = "(scaled.sigmoid() - (logits <= 0).float()).abs().min()"
    threshold = 0.5  # the probability of a logit of 0
    decides_several = True

    def weigh(self, targets: NDArray[Any]) -> NDArray[np.float32] | None:
        """Return how much presence counts against absence."""
        return weigh_presence(self._wanted_weights, targets, self.label_names)

    def weighted_losses(self, outputs: Tensor, targets: Tensor, weights: Tensor | None, smoothing: float) -> Tensor:
        """Return the mean binary cross entropy of each row, what is there weighted, targets drawn towards one half."""
        from torch.nn import functional

        wanted = targets.to(outputs.dtype) * (1.0 - smoothing) + smoothing / 2
        losses = functional.binary_cross_entropy_with_logits(outputs, wanted, reduction="none", pos_weight=weights)
        return losses.mean(dim=-1)

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


def _answer(
    names: tuple[str, ...], chosen: list[str], shares: NDArray[np.float64], confidence: np.float64, *, is_given: bool
) -> Answer:
    probabilities = {name: round(float(share), 6) for name, share in zip(names, shares, strict=True)}
    numbers = {"probabilities": probabilities, "confidence": round(float(confidence), 6)}
    cells = {**{f"p_{name}": share for name, share in probabilities.items()}, "confidence": numbers["confidence"]}
    sure = f"{confidence:.4f}"
    if not is_given:
        return Answer(
            tree={"no_answer": {"code": NOT_SURE, "message": _NOT_SURE}, **numbers},
            cells={"prediction": None, **cells, "no_answer": _NOT_SURE},
            line=f"(not sure)\t{sure}",
        )
    return Answer(
        tree={"labels": chosen, **numbers},
        cells={"prediction": "|".join(chosen), **cells},
        line=f"{', '.join(chosen) or '(none)'}\t{sure}",
    )


TRAINABLES: dict[str, Callable[[Targets], Trainable]] = {SINGLE_NAME: SingleLabelHead, MULTI_NAME: MultiLabelHead}
