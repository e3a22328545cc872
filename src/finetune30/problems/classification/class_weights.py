"""Weights of classes in the loss of a training, for data in which some labels are rare.

Evaluations are never weighted: their losses compare with those of other trainings.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from finetune30.errors import ConfigError

#: Beta of the effective number of rows (Cui et al. 2019, section 3): a row more says the less the more there are.
_BETA = 0.999
#: The most that a label's presence counts against its absence: of a label that is hardly ever there, more is noise.
_MOST_AGAINST_ABSENCE = 10.0

#: Weights that anybody means; far beyond them one label alone would be learnt.
_LEAST, _MOST = 0.001, 1000.0

Weights = str | Sequence[str] | None


def weigh_classes(
    wanted: Weights, targets: NDArray[np.int64], label_names: Sequence[str]
) -> NDArray[np.float32] | None:
    """Return the weight of each class, float32 (classes,), for targets int64 (n,) of single labels; None: no weights.

    Scaled so that the training rows weigh 1 on average and the learning rate keeps its meaning. `balanced`: n / (K n_c)
    as scikit-learn has it; `effective`: by the effective number of rows; or `LABEL=WEIGHT`, other labels weigh 1.
    """
    if wanted is None:
        return None
    counts = np.bincount(targets, minlength=len(label_names)).astype(np.float64)
    if isinstance(wanted, str):
        scarcity = _scarcity(wanted)
        weights = np.array([scarcity(count) if count else 0.0 for count in counts])
    else:
        weights = _named_weights(wanted, label_names)
    scaled: NDArray[np.float64] = weights * (counts.sum() / (weights * counts).sum())
    return scaled.astype(np.float32)


def weigh_presence(
    wanted: Weights, targets: NDArray[np.float32], label_names: Sequence[str]
) -> NDArray[np.float32] | None:
    """Return how much the presence of each label counts against its absence, float32 (classes,); None: as much.

    Targets float32 (n, classes) of 0 and 1. Rows without the label over rows with it, the effective numbers of both, or
    `LABEL=WEIGHT`; at most 10 where it is counted.
    """
    if wanted is None:
        return None
    if not isinstance(wanted, str):
        return _named_weights(wanted, label_names).astype(np.float32)
    scarcity, there = _scarcity(wanted), targets.sum(axis=0, dtype=np.float64)
    absent = len(targets) - there
    against = [scarcity(a) / scarcity(b) if a and b else 1.0 for a, b in zip(there, absent, strict=True)]
    return np.minimum(against, _MOST_AGAINST_ABSENCE).astype(np.float32)


def _scarcity(name: str) -> Callable[[float], float]:
    if name == "balanced":
        return lambda count: 1.0 / count
    return lambda count: float((1.0 - _BETA) / -np.expm1(count * np.log(_BETA)))


def _named_weights(wanted: Sequence[str], label_names: Sequence[str]) -> NDArray[np.float64]:
    """Read `LABEL=WEIGHT` entries; a label may hold `=` itself. Raises ConfigError."""
    named: set[str] = set()
    weights, places = np.ones(len(label_names)), {name: place for place, name in enumerate(label_names)}
    for entry in wanted:
        label, _, number = entry.rpartition("=")
        if label not in places:
            raise ConfigError(
                f"training.class_weights: {entry!r} names no label of the training rows",
                f"write LABEL=WEIGHT with one of: {', '.join(label_names[:20])}",
            )
        try:
            weight = float(number)
        except ValueError:
            weight = 0.0
        if not _LEAST <= weight <= _MOST:
            raise ConfigError(
                f"training.class_weights: the weight of {label!r} is {number!r}",
                f"write a number from {_LEAST} to {_MOST:.0f}, as in spam=3",
            )
        if label in named:
            raise ConfigError(f"training.class_weights: {label!r} has two weights", "name each label once")
        named.add(label)
        weights[places[label]] = weight
    return weights
