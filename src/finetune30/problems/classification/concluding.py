"""What is found once of a classifier, with the weights that are published: how it is to answer, and how well it would.

Everything is fitted on the evaluation rows, and applied only where rows that it was not fitted on gain by it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from finetune30.errors import ConfigError
from finetune30.problems.classification.abstention import choose_confidence, trace_risk
from finetune30.problems.classification.answering import Answering
from finetune30.problems.classification.calibration import deal_folds, fit_temperature, measure_calibration
from finetune30.problems.classification.thresholds import measure_thresholds, plan_tuning

if TYPE_CHECKING:
    from finetune30.config import TrainingConfig

#: Labels of which a row has one, so that one threshold decides between them.
_ONE_THRESHOLD = 2
#: What stands beside the bound of `eval_abstention`: the run itself cannot know what it was chosen among.
_PROMISE = "the bound holds for one training: where a search or a comparison on these rows chose it, nothing is proved"


@dataclass(frozen=True)
class AnswerOptions:
    """What a configuration asks of answers: scaled by a temperature, decided by tuned thresholds, withheld.

    `risk`: the share of wrong answers that is borne; None: every question is answered.
    """

    scales: bool = False
    tunes: bool = False
    risk: float | None = None

    @classmethod
    def choose(cls, training: TrainingConfig, label_names: Sequence[str], *, several: bool) -> AnswerOptions:
        """Return those of a configuration. Raises ConfigError for thresholds of many labels of which a row has one."""
        if training.threshold_tuning and not several and len(label_names) != _ONE_THRESHOLD:
            raise ConfigError(
                f"training.threshold_tuning is for two labels, or several a row; these rows have one of "
                f"{len(label_names)} labels each",
                "leave training.threshold_tuning out; training.class_weights helps rare labels of many",
            )
        return cls(training.temperature_scaling, training.threshold_tuning, training.abstention_risk)


def conclude_classes(
    outputs: NDArray[np.float32],
    targets: NDArray[Any],
    label_names: Sequence[str],
    options: AnswerOptions,
    *,
    several: bool,
    chosen_of: int = 1,
) -> tuple[dict[str, Any], Answering]:
    """Return metrics beyond those of an evaluation, and how the model answers; outputs (n, classes) are logits.

    `several`: each label is decided by itself, targets (n, classes) of 0 and 1; else they are class ids (n,).
    `chosen_of`: see `Evaluation`.
    """
    calibration = measure_calibration(outputs, targets, several=several)
    metrics: dict[str, Any] = {"eval_calibration": calibration}
    answering = Answering()
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
    confidence, is_right = _decide_apart(outputs.astype(np.float64), targets, label_names, answering, several=several)
    metrics["eval_risk_coverage"] = trace_risk(confidence, is_right)
    if options.risk is not None:
        chosen = choose_confidence(confidence, is_right, options.risk, chosen_of)
        metrics["eval_abstention"] = {
            "risk": options.risk,
            "is_applied": bool(chosen),
            "chosen_of": chosen_of,
            "is_approximate": options.scales or options.tunes,  # also where they were found to bring nothing
            "note": _PROMISE,
            **chosen,
        }
        answering = replace(answering, least_confidence=chosen.get("least_confidence", 0.0))
    return metrics, answering


def _decide_apart(
    logits: NDArray[np.float64],
    targets: NDArray[Any],
    label_names: Sequence[str],
    answering: Answering,
    *,
    several: bool,
) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Return how sure each answer is and whether it is right, (n,) each, by settings that other rows gave."""
    wanted = targets.astype(bool) if several else targets[:, None] == np.arange(len(label_names))
    confidence, is_right = np.empty(len(logits)), np.empty(len(logits), dtype=bool)
    tune = plan_tuning(targets, label_names, several=several) if answering.thresholds else None
    for rest, part in deal_folds(len(logits)):
        apart = Answering()
        if answering.temperature != 1.0:
            apart = Answering(fit_temperature(logits[rest], targets[rest], several=several))
        if tune is not None:
            apart = replace(apart, thresholds=tune(apart.scale(logits[rest]), targets[rest]))
        decided = apart.decide(logits[part], label_names, several=several)
        confidence[part], is_right[part] = decided.confidence, (decided.chosen == wanted[part]).all(axis=1)
    return confidence, is_right
