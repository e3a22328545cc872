"""How the score of a run is written: what it is, and its value with its unit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from finetune30.ui import display
from finetune30.ui.metrics import is_share, metric_value
from finetune30.ui.session import t_or


def score_title(name: str) -> str:
    """Return what a score is called on the page."""
    return t_or(f"metric.{name}", display.raw(name, 60))


def score_in_sentence(name: str) -> str:
    """Return what a score is called within a sentence."""
    title = score_title(name)
    return title[:1].lower() + title[1:]


def score_value(run: Mapping[str, Any]) -> str:
    """Return the score of a run (or of a best one) as its problem wants it written; told from its name otherwise."""
    match run.get("score_format"):
        case "percent":
            return display.percent(run.get("score"))
        case "number":
            return display.number(run.get("score"))
    return metric_value(str(run.get("score_name") or ""), run.get("score"))


def score_names(runs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the scores by which these runs were measured, in the order of the runs."""
    return list(dict.fromkeys(str(run["score_name"]) for run in runs if run.get("score_name")))


def shares_among(runs: Sequence[Mapping[str, Any]]) -> dict[str, bool]:
    """Return the scores of `score_names`, each with whether its values are shares (0-1)."""
    written = {str(run["score_name"]): run["score_format"] for run in runs if run.get("score_format")}
    names = score_names(runs)
    return {name: written[name] == "percent" if name in written else is_share(name) for name in names}
