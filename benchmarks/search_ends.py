"""How often the verdicts at the end of a search are wrong, and how often they are found, by simulation.

    python -m benchmarks.search_ends --times 400 --output build/search_ends.md

A row is right where its difficulty, a part of it that is each configuration's own, the luck of a seed on all rows and
chance together are above 0. The best of n configurations is chosen by one seed of each on the evaluation rows, then it
and the default are repeated under other seeds and judged, as `ft30 search` does it: on those rows, where n counts
against it, or on as many test rows. All n are equal but for `lead`, by which the last is better.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.table_command import print_table
from finetune30.service.statistics.gains import LEAST_GAIN, Verdict, judge_gain
from finetune30.service.statistics.importance import measure_importance
from finetune30.service.statistics.luck import luck_of_best, near_best, seed_noise

#: Standard deviations on the scale of difficulty (1), and the mean, at which four of five rows are right.
OWN, CHANCE, LUCK, EASE = 0.3, 0.4, 0.04, 0.95
#: By how much a lead of one on that scale moves the share of right rows, about.
SLOPE = 0.245
TIMES = 200


@dataclass(frozen=True)
class Case:
    """A search: evaluation rows, trials, seeds of each repeat, the lead of the last trial in right rows (0-1)."""

    rows: int
    trials: int
    seeds: int
    lead: float
    tests: bool

    @property
    def told(self) -> str:
        """The case as a line of a table."""
        where = "test rows" if self.tests else "the rows that chose it"
        return f"{self.rows} | {self.trials} | {self.seeds} | {100 * self.lead:g} | {where}"


class World:
    """Configurations and rows of one search; `draw` trains and evaluates."""

    def __init__(self, case: Case, generator: np.random.Generator) -> None:
        self._generator = generator
        self._leads = np.zeros(case.trials)
        self._leads[-1] = case.lead / SLOPE
        self._rows = [self._make(case.rows, case.trials) for _ in range(2)]  # evaluation, test

    def draw(self, trials: list[int], seeds: int, part: int = 0) -> NDArray[np.float64]:
        """Return outcomes (rows, trials, seeds) under fresh seeds, of `part` 0 the evaluation and 1 the test rows."""
        own = self._rows[part][:, trials, None]
        luck = self._generator.normal(0.0, LUCK, size=(1, len(trials), seeds))
        noise = self._generator.normal(0.0, CHANCE, size=(len(own), len(trials), seeds))
        return (own + self._leads[trials, None] + luck + noise > 0).astype(np.float64)

    def _make(self, rows: int, trials: int) -> NDArray[np.float64]:
        hard = self._generator.normal(EASE, 1.0, size=(rows, 1))
        return hard + self._generator.normal(0.0, OWN, size=(rows, trials))


@dataclass
class Found:
    """What came of many searches of one case."""

    verdicts: Counter[Verdict]
    itself: int = 0
    missed: int = 0
    worse: int = 0
    lost: int = 0
    luck: float = 0.0
    lead: float = 0.0


def simulate(case: Case, times: int, seed: int = 1) -> Found:
    """Carry so many searches out.

    `itself`: the default was the best, and nothing was judged; `missed`: a gain was ruled out that there is; `worse`:
    any trial was called worse than the best; `lost`: the last one was.
    """
    generator = np.random.default_rng(seed)
    found = Found(Counter())
    for _ in range(times):
        world = World(case, generator)
        first = world.draw(list(range(case.trials)), 1)[:, :, 0]
        best = int(first.mean(axis=0).argmax())
        if best == 0:
            found.itself += 1
        else:
            repeats = world.draw([0, best], case.seeds, int(case.tests))
            tried = 1 if case.tests else case.trials
            gain = judge_gain(repeats[:, 0], repeats[:, 1], is_right=True, tried=tried)
            found.verdicts[gain.verdict] += 1
            found.missed += gain.verdict is Verdict.KEEP_DEFAULT and case.lead > 0 and best == case.trials - 1
        repeated = [*world.draw([0, best], case.seeds).swapaxes(0, 1)]
        near = near_best(first, best, repeated, greater_is_better=True)
        found.worse += not all(near)
        found.lost += not near[-1]
        found.luck += luck_of_best(first, seed_noise(repeated)) / times
        found.lead += float(first.mean(axis=0).max() - first.mean()) / times
    return found


def simulate_importance(trials: int, effect: float, times: int, seed: int = 1) -> float:
    """Return how often a parameter stands out; the values of one of four move by `effect` standard deviations."""
    generator, passed = np.random.default_rng(seed), 0
    for _ in range(times):
        labels = {f"p{number}": generator.random(trials).tolist() for number in range(2)}
        labels |= {f"c{number}": generator.integers(0, 3, trials).tolist() for number in range(2)}
        values = generator.normal(size=trials) + effect * (np.array(labels["c0"]) == 1)
        passed += any(one.stands_out for one in measure_importance(values, labels, frozenset({"p0", "p1"})).values())
    return passed / times


def tabulate(times: int) -> str:
    """Return the tables, in Markdown."""
    cases = [
        Case(rows, trials, seeds, lead, tests)
        for rows, trials, seeds in ((200, 20, 3), (1000, 20, 3), (1000, 8, 5))
        for tests in (True, False)
        for lead in (0.0, LEAST_GAIN, 0.06)
    ]
    lines = [
        "| rows | trials | seeds | lead, points | judged on | better | keep the default | not enough | a gain ruled "
        "out that there is | any called worse | the better one called worse | luck that is told | lead of the best |",
        "|" + "---|" * 13,
    ]
    for case in cases:
        found = simulate(case, times)
        shares = [100 * found.verdicts[one] / times for one in Verdict]
        shares += [100 * count / times for count in (found.missed, found.worse, found.lost)]
        points = f"{100 * found.luck:.1f} | {100 * found.lead:.1f}"
        lines.append(f"| {case.told} | " + " | ".join(f"{one:.1f} %" for one in shares) + f" | {points} |")
        print(lines[-1], flush=True)
    lines += ["", "| trials | effect, standard deviations | a parameter stands out |", "|---|---|---|"]
    for trials in (12, 24, 60):
        for effect in (0.0, 1.0, 2.0):
            share = simulate_importance(trials, effect, times)
            lines.append(f"| {trials} | {effect:g} | {100 * share:.1f} % |")
    return "\n".join(lines)


def main() -> None:
    """Print the tables."""
    print_table(__doc__, tabulate, times=TIMES, counted="searches of each case")


if __name__ == "__main__":
    main()
