"""What is found once of a classifier, with the weights that are published: how it is to answer, and how well it would.

Everything is fitted on the evaluation rows, and applied only where rows that it was not fitted on gain by it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from finetune30.errors import ConfigError
from finetune30.problems.classification.answering import Answering
from finetune30.problems.classification.calibration import measure_calibration
from finetune30.problems.classification.thresholds import measure_thresholds

if TYPE_CHECKING:
    from finetune30.config import TrainingConfig

#: Labels of which a row has one, so that one threshold decides between them.
_ONE_THRESHOLD = 2


@dataclass(frozen=True)
class AnswerOptions:
    """What a configuration asks of answers: scaled by a temperature, decided by tuned thresholds."""

    scales: bool = False
    tunes: bool = False

    @classmethod
    def choose(cls, training: TrainingConfig, label_names: Sequence[str], *, several: bool) -> AnswerOptions:
        """Return those of a configuration. Raises ConfigError for thresholds of many labels of which a row has one."""
        if training.threshold_tuning and not several and len(label_names) != _ONE_THRESHOLD:
            raise ConfigError(
                f"training.threshold_tuning is for two labels, or several a row; these rows have one of "
                f"{len(label_names)} labels each",
                "leave training.threshold_tuning out; training.class_weights helps rare labels of many",
            )
        return cls(training.temperature_scaling, training.threshold_tuning)


def conclude_classes(
    outputs: NDArray[np.float32],
    targets: NDArray[Any],
    label_names: Sequence[str],
    options: AnswerOptions,
    *,
    several: bool,
) -> tuple[dict[str, Any], Answering]:
    """Return metrics beyond those of an evaluation, and how the model answers; outputs (n, classes) are logits.

    `several`: each label is decided by itself, targets (n, classes) of 0 and 1; else they are class ids (n,).
    """
    calibration = measure_calibration(outputs, targets, several=several)
    metrics, answering = {"eval_calibration": calibration}, Answering()
    if options.scales:
        helps = "temperature" in calibration and calibration["scaled"]["log_loss"] < calibration["log_loss"]
        calibration["is_applied"] = helps
        answering = Answering(calibration["temperature"]) if helps else answering
    if options.tunes:
        found = measure_thresholds(answering.scale(outputs.astype(np.float64)), targets, label_names, several=several)
        found["is_applied"] = found["crossfitted_f1"] > found["f1"]
        metrics["eval_thresholds"] = found
        if found["is_applied"]:
            answering = Answering(answering.temperature, found["thresholds"])
    return metrics, answering
