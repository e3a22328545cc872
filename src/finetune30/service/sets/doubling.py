"""Whether more training rows would help: what doubling them, from half to all, brought; judged, and said in words.

Rows, seeds and verdicts are those of `statistics.gains`: half of the rows stand where a search has its default. What is
said is said of the last doubling only. How the curve goes on is not drawn: fitted to so few sizes, an extrapolation is
as uncertain as its answer (Viering and Loog 2022, IEEE TPAMI 45:7799-7819).
"""

from __future__ import annotations

from collections.abc import Iterator
from statistics import fmean
from typing import Any

from finetune30.service.sets.measures import COUNTED, MEANS, Measured, measure_of
from finetune30.service.sets.outcomes import SetOutcomes
from finetune30.service.sets.plans import HALF, LEAST_SEEDS, WHOLE
from finetune30.service.statistics.gains import LEAST_GAIN, Gain, Verdict, judge_gain
from finetune30.service.statistics.groups import join_groups, say_too_few
from finetune30.service.statistics.sample_size import rows_needed
from finetune30.service.statistics.seeds import GROUP_METHOD, METHOD, discordant_share
from finetune30.values import say_count

Json = dict[str, Any]
#: What the verdicts on the second of two configurations say of the larger of two shares.
ANSWERS = {Verdict.BETTER: "helps", Verdict.KEEP_DEFAULT: "flat", Verdict.NOT_ENOUGH: "not_enough"}
_POINT = 0.01


def answer_doubling(outcomes: SetOutcomes) -> Json:
    """Return what a learning curve answers as JSON; `verdict` is None until both shares have enough finished runs.

    `gain` is above 0 where all rows are better than half of them, `interval` the wider of its 95 % intervals over rows
    and over seeds at each end; both are shares of right rows (`as_points`) or losses.
    """
    half, whole = outcomes.of_share(HALF), outcomes.of_share(WHOLE)
    sides = half.outcomes(), whole.outcomes()
    waiting = sum(one.planned - one.ended for one in (half, whole))
    if waiting:
        return _without(
            f"not judged yet: on half of the rows and on all of them {say_count(waiting, 'runs have')} not ended"
        )
    if min(len(half.judged), len(whole.judged)) < LEAST_SEEDS:
        told = (
            f"{say_count(len(half.judged), 'runs')} on half of the rows and {len(whole.judged)} on all of them "
            f"have finished"
        )
        return _without(f"not judged: {told}, {LEAST_SEEDS} of each are needed")
    if sides[0] is None or sides[1] is None or not half.has_rows_of(whole):
        return _without("not judged: the runs have no outcomes of the same rows")
    measure = measure_of(whole)
    is_right = measure in COUNTED
    least = LEAST_GAIN * (1.0 if is_right else float(sides[0].mean()))
    groups = join_groups([half.groups(), whole.groups()])
    gain = judge_gain(sides[0], sides[1], is_right=is_right, least_gain=least, groups=groups)
    over_rows = gain.interval or gain.over_seeds
    low, high = min(over_rows[0], gain.over_seeds[0]), max(over_rows[1], gain.over_seeds[1])
    sizes = [round(fmean(entry["rows"] for entry in one.run_set.plan)) for one in (half, whole)]
    needed = rows_needed(_POINT, discordant_share(sides[1]) or 0.0) if is_right and groups is None else None
    return {
        "verdict": ANSWERS[gain.verdict],
        "message": "\n".join(
            [*_say(gain, (low, high), measure, sizes, needed), *_say_groups(gain), *_say_limits(half, whole, measure)]
        ),
        "training_rows": sizes,
        "rows": gain.rows,
        "groups": gain.groups,
        "groups_needed": gain.groups_needed,
        "seeds": [len(half.judged), len(whole.judged)],
        "measure": measure,
        "gain": gain.gain,
        "interval": [low, high],
        "p_value": gain.p_value,
        "least_gain": least,
        "rows_needed": gain.rows_needed,
        "seeds_needed": gain.seeds_needed,
        "rows_for_one_point": needed,
        "as_points": is_right,
        "method": METHOD if groups is None else GROUP_METHOD,
    }


def _without(message: str) -> Json:
    return {"verdict": None, "message": message}


def _say(
    gain: Gain, interval: tuple[float, float], measure: Measured, sizes: list[int], needed: int | None
) -> Iterator[str]:
    """Yield the answer, then how many evaluation rows see one point, a sentence each."""
    before, after = (f"{size:,}" for size in sizes)
    if gain.groups is not None and gain.groups_needed is not None:
        few = say_too_few(gain.groups, gain.groups_needed)
        yield f"{few}; what doubling from {before} to {after} rows brings is not told"
        return
    found = _say_gain(gain.gain, interval, measure)
    match gain.verdict, max(interval[1], 0.0):
        case Verdict.BETTER, _:
            yield f"more data would likely help: doubling from {before} to {after} rows gave {found}"
        case Verdict.KEEP_DEFAULT, _ if interval[1] < 0:
            yield f"more rows made it worse: doubling from {before} to {after} rows gave {found}"
            return
        case Verdict.KEEP_DEFAULT, size if measure in COUNTED:
            yield (
                f"not distinguishable: more rows of this kind are unlikely to show a gain as large as {100 * size:.1f} "
                f"points of {COUNTED[measure]}; doubling from {before} to {after} rows gave {found}"
            )
        case Verdict.KEEP_DEFAULT, size:
            yield (
                f"not distinguishable: more rows of this kind are unlikely to show a gain as large as {size:.3g} "
                f"in {MEANS[measure]}; doubling from {before} to {after} rows gave {found}"
            )
        case _, size if measure in COUNTED:
            yield (
                f"{_say_what_lacks(gain)}; a gain as large as {100 * size:.1f} points of {COUNTED[measure]} is not "
                f"ruled out: doubling from {before} to {after} rows gave {found}"
            )
        case _, size:
            yield (
                f"{_say_what_lacks(gain)}; a gain as large as {size:.3g} in {MEANS[measure]} is not ruled out: "
                f"doubling from {before} to {after} rows gave {found}"
            )
    if needed is not None and gain.verdict is not Verdict.BETTER:
        yield f"to see one point take about {say_count(needed, 'evaluation rows', ',')}"


def _say_what_lacks(gain: Gain) -> str:
    rows, seeds = gain.rows_needed, gain.seeds_needed
    if rows is not None and seeds is not None:
        return (
            f"not enough rows and seeds to say: about {say_count(rows, 'evaluation rows', ',')} and "
            f"{say_count(seeds, 'seeds are', ',')} needed"
        )
    if seeds is not None:
        return f"not enough seeds to say: about {seeds:,} are needed"
    return "not enough rows to say" if rows is None else f"not enough rows to say: about {rows:,} are needed"


def _say_gain(gain: float, interval: tuple[float, float], measure: Measured) -> str:
    """Return a gain with its interval; of losses the change, which is below 0 where less is lost."""
    low, high = interval
    if measure in COUNTED:
        return f"{100 * gain:+.1f} points of {COUNTED[measure]} ({100 * low:+.1f} to {100 * high:+.1f})"
    return f"{-gain:+.3g} in {MEANS[measure]} ({-high:+.3g} to {-low:+.3g})"


def _say_groups(gain: Gain) -> Iterator[str]:
    if gain.groups is not None and gain.groups_needed is None:
        yield f"over rows by group, {say_count(gain.groups, 'groups', ',')}"


def _say_limits(half: SetOutcomes, whole: SetOutcomes, measure: Measured) -> Iterator[str]:
    if failed := half.planned - len(half.judged):
        yield f"{failed} of {say_count(half.planned, 'runs')} on half of the rows did not succeed"
    if failed := whole.planned - len(whole.judged):
        yield f"{failed} of {say_count(whole.planned, 'runs')} on all rows did not succeed"
    if not (half.score_is_mean and whole.score_is_mean):
        words = {**COUNTED, **MEANS}[measure]
        yield f"told by {words}, of which the score {whole.problem.score.name} is not the mean"
