"""What is said of the best trial against trial 0: in words, and as JSON with what was compared and what is lacking."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from finetune30.config.search import MOST_SEEDS
from finetune30.service.searches.repeats import Repeats
from finetune30.service.sets.measures import COUNTED, MEANS, Measured
from finetune30.service.statistics.gains import Gain, Verdict
from finetune30.service.statistics.groups import say_too_few
from finetune30.service.statistics.seeds import GROUP_METHOD, METHOD
from finetune30.values import say_count

Json = dict[str, Any]


@dataclass(frozen=True)
class Judging:
    """What is compared: `repeats` of trial 0 and of trial `best`, row by row, by `measure`.

    `other_metric`: the metric that chose the best, where it is not the mean of what is compared. `look`: of test rows,
    the how manyth look of the search at them; None: the rows are those that chose the best.
    """

    best: int
    measure: Measured
    repeats: Sequence[Repeats]
    other_metric: str | None
    look: int | None = None

    @property
    def is_right(self) -> bool:
        """Whether rows are right or wrong, not losses."""
        return self.measure in COUNTED


def describe_gain(gain: Gain, judging: Judging, seeds: int, least: float) -> Json:
    """Return a gain as JSON, `message` in words, a sentence a line; sizes are shares (`as_points`) or losses."""
    return {
        "verdict": str(gain.verdict),
        "message": "\n".join(_say(gain, judging, seeds)),
        "best": judging.best,
        "measure": judging.measure,
        "other_metric": judging.other_metric,
        "look": judging.look,
        "repeats": dict(zip(("default", "best"), (one.as_dict() for one in judging.repeats), strict=True)),
        "gain": gain.gain,
        "interval": gain.interval and list(gain.interval),
        "p_rows": gain.p_rows,
        "p_seeds": gain.p_seeds,
        "p_value": gain.p_value,
        "rows": gain.rows,
        "groups": gain.groups,
        "groups_needed": gain.groups_needed,
        "seeds": seeds,
        "rows_needed": gain.rows_needed,
        "seeds_needed": gain.seeds_needed,
        "least_gain": least,
        "as_points": judging.is_right,
        "method": METHOD if gain.groups is None else GROUP_METHOD,
    }


def _say(gain: Gain, judging: Judging, seeds: int) -> Iterator[str]:
    """Yield the verdict, then what limits it and what to do, a sentence each."""
    found = _say_found(gain, judging, seeds)
    if gain.verdict is Verdict.BETTER:
        yield f"better than the default ({found})"
    elif gain.verdict is Verdict.KEEP_DEFAULT:
        yield f"not distinguishable, keep the default: a gain that is worth a change is ruled out ({found})"
    else:
        yield from _say_what_lacks(gain, judging, found)
    if gain.groups is not None and gain.groups_needed is None:
        yield f"over rows by group, {say_count(gain.groups, 'groups', ',')}"
    for number, one in zip((0, judging.best), judging.repeats, strict=True):
        if one.failed:
            yield f"{one.failed} of {say_count(one.planned, 'repeats')} of trial {number} failed"
    if judging.other_metric is not None:
        yield f"trials were told apart by {judging.other_metric}, which is not the mean of what is compared here"
    if judging.look is not None and judging.look > 1:
        yield f"look {judging.look} at these test rows: p over rows counts {judging.look} times"


def _say_found(gain: Gain, judging: Judging, seeds: int) -> str:
    best = judging.best
    told = f"p = {gain.p_value:.3g}, {say_count(gain.rows, 'rows', ',')}, {say_count(seeds, 'seeds')}"
    if judging.is_right:
        counted, points = COUNTED[judging.measure], f"{100 * gain.gain:+.1f}"
        return f"trial {best}: {points} points of {counted}, {told}"
    mean, change = MEANS[judging.measure], f"{-gain.gain:+.3g}"
    return f"trial {best}: {change} in {mean}, {told}"


def _say_what_lacks(gain: Gain, judging: Judging, found: str) -> Iterator[str]:
    rows, seeds = gain.rows_needed, gain.seeds_needed
    if gain.groups is not None and gain.groups_needed is not None:
        yield say_too_few(gain.groups, gain.groups_needed)
        yield "to tell it, give rows of more groups; until then keep the default"
        return
    if rows is None and seeds is None and judging.repeats[1].failed > judging.repeats[0].failed:
        yield f"not judged better: more repeats of it failed than of trial 0 ({found})"
        return
    is_beyond = seeds is not None and seeds > MOST_SEEDS
    told = f"more than {MOST_SEEDS}" if is_beyond else f"about {seeds}"
    if rows is not None and seeds is not None:
        yield f"not enough rows and seeds: about {rows:,} rows and {told} seeds of each are needed ({found})"
    elif rows is not None:
        yield f"not enough rows: about {rows:,} are needed ({found})"
    elif seeds is not None:
        yield f"not enough seeds: {told} of each are needed ({found})"
    else:
        yield f"not enough rows and seeds ({found})"
    if is_beyond:
        yield "no search takes so many seeds: keep the default"
    elif seeds is not None and rows is not None:
        yield f"to tell it, search with confirm.seeds {seeds} and more rows"
    elif seeds is not None:
        yield f"to tell it, search with confirm.seeds {seeds}"
    elif judging.look is None:
        yield "to tell it, give more evaluation rows; until then keep the default"
    else:
        yield "to tell it, give more test rows; until then keep the default"
