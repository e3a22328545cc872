"""What a set says: the mean of its scores, how far they spread, the interval that is right for it; a curve's points."""

from __future__ import annotations

from statistics import fmean, stdev
from typing import Any

from finetune30.service.runs.open_records import Records
from finetune30.service.sets.doubling import answer_doubling
from finetune30.service.sets.outcomes import SetOutcomes, load_set_outcomes
from finetune30.service.sets.plans import WHOLE
from finetune30.service.statistics import folds as fold_statistics
from finetune30.service.statistics.sample_size import ASSUMED_DISCORDANT, rows_needed, visible_difference
from finetune30.service.statistics.score_interval import mean_score_interval, score_interval
from finetune30.service.statistics.seeds import discordant_share
from finetune30.store.run_sets import RunSet
from finetune30.values import say_count

_POINT = 0.01
_FIGURES = ("mean", "standard_deviation", "lowest", "highest", "interval", "rows", "power")


def describe_set(records: Records, run_set: RunSet) -> dict[str, Any]:
    """Return the set, its runs with their scores, and the summary of those that finished, as JSON.

    `summary` is None while none has finished.
    """
    outcomes = load_set_outcomes(records, run_set)
    members = []
    for entry in run_set.plan:
        run = outcomes.runs.get(entry["number"])
        told: dict[str, Any] = {"run_id": None, "name": None, "status": None, "score": None}
        if run is not None:
            told = {"run_id": run.id, "name": run.name, "status": str(run.status), "score": run.score}
        members.append({**entry, **told})
    return {**run_set.as_dict(), "runs": members, "summary": summarize(outcomes)}


def summarize(outcomes: SetOutcomes) -> dict[str, Any] | None:
    """Return what the finished runs of a set say together; None where none has finished.

    Of seeds the interval is over rows, and says nothing of other seeds: `standard_deviation` does. Of folds it is the
    corrected one. `interval` is None where too few have finished. Of a learning curve the figures are those of all
    training rows (None: none finished), beside them `points` share by share, and `answer` (see `answer_doubling`).
    """
    if not outcomes.judged:
        return None
    score = outcomes.problem.score
    counted = {"finished": len(outcomes.judged), "planned": outcomes.planned}
    told = {**counted, "score_name": score.name, "score_format": score.format}
    if outcomes.run_set.purpose != "curve":
        return told | _figures(outcomes)
    shares = dict.fromkeys(entry["share"] for entry in outcomes.run_set.plan)
    points = [_point(outcomes.of_share(share), share) for share in shares]
    return told | _figures(outcomes.of_share(WHOLE)) | {"points": points, "answer": answer_doubling(outcomes)}


def _point(outcomes: SetOutcomes, share: float) -> dict[str, Any]:
    """Return one size of a learning curve; `training_rows` is the mean where groups make draws differ."""
    size = round(fmean(entry["rows"] for entry in outcomes.run_set.plan))
    counted = {"finished": len(outcomes.judged), "planned": outcomes.planned}
    return {"share": share, "training_rows": size, **counted, **_figures(outcomes)}


def _figures(outcomes: SetOutcomes) -> dict[str, Any]:
    """Return mean, spread and interval of scores; None where none has finished."""
    if not outcomes.judged:
        return dict.fromkeys(_FIGURES)
    scores = [one.score for one in outcomes.judged]
    rows = outcomes.judged[0].predictions.height
    are_folds = outcomes.run_set.purpose == "folds"
    return {
        "mean": fmean(scores),
        "standard_deviation": stdev(scores) if len(scores) > 1 else None,
        "lowest": min(scores),
        "highest": max(scores),
        "interval": _interval(outcomes, scores),
        "rows": sum(one.predictions.height for one in outcomes.judged) if are_folds else rows,
        "power": None if are_folds else _power(outcomes, rows),
    }


def describe_power(rows: int, discordant: float | None = None, *, grouped: bool = False) -> dict[str, Any]:
    """Return which difference of right answers so many rows tell apart, and how many rows tell one point.

    `discordant` is the share of rows that two seeds answer differently, None: not known yet. `grouped`: rows belong
    together, which these figures do not know; it is said.
    """
    share = ASSUMED_DISCORDANT if discordant is None else discordant
    return {
        "rows": rows,
        "discordant": share,
        "is_assumed": discordant is None,
        "visible_difference": visible_difference(rows, share) if rows else None,
        "rows_for_one_point": rows_needed(_POINT, share),
        **({"shares_groups": True} if grouped else {}),
    }


def say_power(power: dict[str, Any]) -> str:
    """Return `describe_power` as a sentence."""
    told = "an assumed" if power["is_assumed"] else "a measured"
    rows, visible = power["rows"], power["visible_difference"]
    see = (
        f"{say_count(rows, 'evaluation rows tell', ',')} {100 * visible:.1f} points apart"
        if rows
        else "there are no evaluation rows"
    )
    said = (
        f"{see}; to see one point take {power['rows_for_one_point']:,} (80 % power at 5 %, {told} "
        f"{100 * power['discordant']:.0f} % of rows on which two runs differ, or as many as the points where these are "
        "more; Connor 1987)"
    )
    return f"{said}; rows share groups, and this takes them for independent" if power.get("shares_groups") else said


def _power(outcomes: SetOutcomes, rows: int) -> dict[str, Any] | None:
    if not outcomes.is_right_or_wrong:
        return None
    found = outcomes.outcomes()
    if found is None:
        return None
    return describe_power(rows, discordant_share(found), grouped=outcomes.groups() is not None)


def _interval(outcomes: SetOutcomes, scores: list[float]) -> dict[str, Any] | None:
    if outcomes.run_set.purpose == "folds":
        folds = max(entry["fold"] for entry in outcomes.run_set.plan)
        if len(scores) < 2:
            return None
        found = fold_statistics.fold_mean(scores, folds)
        return {"low": found.low, "high": found.high, "method": fold_statistics.METHOD}
    predictions = [one.predictions for one in outcomes.judged]
    if len(predictions) == 1:
        one = score_interval(outcomes.problem, predictions[0], outcomes.targets)
        return None if one is None else one.as_dict()
    if outcomes.outcomes() is None:
        return None
    several = mean_score_interval(outcomes.problem, predictions, outcomes.targets)
    return None if several is None else several.as_dict()
