"""Pausing a run at a share of its steps, which its plan does not know of.

Nothing of the training depends on it: the run stops after an evaluation that its configuration asks for, with a
checkpoint, as one that is cancelled there does. So a run that goes on from there is the one that never paused.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

#: Of a share such as 1/3 of 54 steps, what binary numbers are off by.
_ROUNDING = 1e-9


class Pause:
    """Tells when an attempt is to pause: after the first evaluation from `share` of the steps on, before the last step.

    An attempt that begins from a checkpoint behind that evaluation pauses after its first step.
    """

    def __init__(self, share: float | None, history: Path) -> None:
        """`share` None: never. `history` holds what earlier attempts recorded up to the checkpoint."""
        self._share = share
        self._evaluations = _read_evaluations(history) if share is not None else []
        self._step = self._total_steps = 0

    def follow(self, step: int, total_steps: int) -> None:
        """Take where the loop stands."""
        self._step, self._total_steps = step, total_steps

    def record(self, record: Mapping[str, Any]) -> None:
        """Take a line of the history."""
        if self._share is not None and record["type"] == "eval":
            self._evaluations.append(record)

    @property
    def reason(self) -> str | None:
        """ "paused" where it is time, else None."""
        return "paused" if self.is_due(self._step, self._total_steps) else None

    def is_due(self, step: int, total_steps: int) -> bool:
        """Whether a run that has taken so many steps pauses now."""
        if self._share is None or step >= total_steps:
            return False
        return _first_from(self._evaluations, self._share * total_steps) is not None


def find_rung(history: Path, share: float, total_steps: int) -> dict[str, Any] | None:
    """Return the first evaluation from a share of the steps on: step, total_steps, and its numbers as `metrics`.

    None where there is none before the last step.
    """
    found = _first_from(_read_evaluations(history), share * total_steps)
    if found is None or found["step"] >= total_steps:
        return None
    metrics = {key: value for key, value in found.items() if key.startswith("eval_") and isinstance(value, int | float)}
    return {"step": found["step"], "total_steps": total_steps, "metrics": metrics}


def is_at_rung(found: Mapping[str, Any], share: float) -> bool:
    """Tell whether an evaluation, as `find_rung` returns it, lies at a share of the steps or behind it."""
    return bool(found["metrics"] and found["step"] >= share * found["total_steps"] - _ROUNDING)


def _first_from(evaluations: Iterable[Mapping[str, Any]], step: float) -> Mapping[str, Any] | None:
    return next((one for one in evaluations if one["step"] >= step - _ROUNDING), None)


def _read_evaluations(history: Path) -> list[Mapping[str, Any]]:
    if not history.is_file():
        return []
    records = (json.loads(line) for line in history.read_text(encoding="utf-8").splitlines() if line)
    return [record for record in records if record["type"] == "eval"]
