"""How often `search.stop: clearly_worse` stops the trial that would have been the best, and what it saves.

    python -m benchmarks.search_stops --times 400 --output build/search_stops.md

Trials have a final value and one at the rung; how these hang together is the world's. Both are rounded to one row of
1,000 and have the luck of a seed. A search of n trials decides with what a trial may see of the ones before, as
`ft30 search` does. Lost: the best of all n was stopped. Cost: steps trained, of those of n whole trainings.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from finetune30.config.search import LEAST_FINISHED
from finetune30.service.searches.rungs import level_of_one
from finetune30.service.searches.suggesting import count_visible
from finetune30.service.statistics.prediction import compare_with_best

Values = NDArray[np.float64]
World = Callable[[np.random.Generator, int], tuple[Values, Values]]
SHARE, RISK, TIMES, SEED = 0.33, 0.05, 400, 11
#: Points of accuracy: between configurations, of a seed at the end and at the rung, rows and seed together.
SPREAD, LUCK_AT_END, LUCK_AT_RUNG = 1.5, 0.9, 1.3
CASES = ((24, 8), (24, 4), (60, 8))


def _linear(fidelity: float) -> World:
    def draw(generator: np.random.Generator, count: int) -> tuple[Values, Values]:
        final, other = generator.normal(0, SPREAD, (2, count))
        return fidelity * final + (1 - fidelity**2) ** 0.5 * other, final

    return draw


def _hill(generator: np.random.Generator, count: int) -> tuple[Values, Values]:
    """One parameter matters; the best one at the rung is a little lower."""
    place = generator.uniform(-1, 1, count)
    return -12 * (place - 0.1) ** 2, -8 * (place - 0.2) ** 2


def _crossing(generator: np.random.Generator, count: int) -> tuple[Values, Values]:
    """What is best at the rung is not at the end."""
    place = generator.uniform(-1, 1, count)
    return -6 * (place + 0.3) ** 2, -4 * (place - 0.2) ** 2


def _slow(share: float) -> World:
    """Some start slowly, and end as the others do."""

    def draw(generator: np.random.Generator, count: int) -> tuple[Values, Values]:
        final = generator.normal(0, SPREAD, count)
        return final - 10 * (generator.random(count) < share), final

    return draw


def _failing(generator: np.random.Generator, count: int) -> tuple[Values, Values]:
    """A quarter never learns."""
    final = generator.normal(0, SPREAD, count)
    fails = generator.random(count) < 0.25
    return np.where(fails, -28.0, 0.7 * final - 3), np.where(fails, -30.0, final)


def _ceiling(generator: np.random.Generator, count: int) -> tuple[Values, Values]:
    """Most end near the best."""
    lack = generator.exponential(2.0, count)
    return -2 * lack - generator.exponential(1.0, count), -lack


def _heavy(generator: np.random.Generator, count: int) -> tuple[Values, Values]:
    """Outliers at the rung and at the end."""
    final = generator.standard_t(3, count)
    return final + 0.7 * generator.standard_t(3, count), final


WORLDS: dict[str, World] = {
    "the rung says nothing": _linear(0.0),
    "the rung says a little (correlation 0.4)": _linear(0.4),
    "the rung says something (0.7)": _linear(0.7),
    "the rung says much (0.9)": _linear(0.9),
    "one parameter matters": _hill,
    "curves cross": _crossing,
    "one in five starts slowly": _slow(0.2),
    "one in twenty starts slowly": _slow(0.05),
    "a quarter never learns": _failing,
    "most end near the best": _ceiling,
    "outliers": _heavy,
}


def search(early: Values, final: Values, window: int) -> set[int]:
    """Return the trials that are stopped."""
    stopped: set[int] = set()
    level = level_of_one(RISK, len(final), 1)
    for number in range(len(final)):
        seen = [one for one in range(count_visible(number, window)) if one not in stopped]
        if len(seen) < LEAST_FINISHED:
            continue
        found = compare_with_best(early[seen].tolist(), final[seen].tolist(), float(early[number]))
        if found is not None and found.is_behind and found.chance < level:
            stopped.add(number)
    return stopped


def simulate(world: World, trials: int, window: int, times: int) -> tuple[float, float]:
    """Return how often the best trial was stopped, and the steps trained as a share of all, each 0-1."""
    generator = np.random.default_rng(SEED)
    lost, cost = 0, 0.0
    for _ in range(times):
        early, final = world(generator, trials)
        early = np.round(early + generator.normal(0, LUCK_AT_RUNG, trials), 1)
        final = np.round(final + generator.normal(0, LUCK_AT_END, trials), 1)
        stopped = search(early, final, window)
        lost += int(np.argmax(final)) in stopped
        cost += 1 - len(stopped) * (1 - SHARE) / trials
    return lost / times, cost / times


def main() -> None:
    """Print a table, or write it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=TIMES)
    parser.add_argument("--output", type=Path)
    given = parser.parse_args()
    lines = ["| world | " + " | ".join(f"{trials} trials, window {window}" for trials, window in CASES) + " |"]
    lines.append("| --- |" + " --- |" * len(CASES))
    for name, world in WORLDS.items():
        found = [simulate(world, trials, window, given.times) for trials, window in CASES]
        lines.append(f"| {name} | " + " | ".join(f"{lost:.1%} lost, cost {cost:.2f}" for lost, cost in found) + " |")
    text = "\n".join(lines)
    print(text)
    if given.output:
        given.output.parent.mkdir(parents=True, exist_ok=True)
        given.output.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
