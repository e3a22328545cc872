"""How often a learning curve says wrongly that more rows would help, and how often it is found, by simulation.

    python -m benchmarks.learning_curves --times 400 --output build/learning_curves.md

A row is right where its difficulty, what the training rows leave of it, the luck of a training on all rows and chance
together are above 0. What the training rows leave is the same for every training on all of them, and another for each
half, of which a part is also the luck of that half on all rows. All and half are equally good but for `gain`.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.search_ends import CHANCE, EASE, LUCK, OWN, SLOPE
from benchmarks.table_command import print_table
from finetune30.service.statistics.gains import Verdict, judge_gain

#: Standard deviation of the luck of a half of the rows, on the scale of difficulty.
LUCK_OF_HALF = 0.04
TIMES = 200


@dataclass(frozen=True)
class Case:
    """Evaluation rows, seeds on each share, and the gain of all training rows over half of them in right rows (0-1)."""

    rows: int
    seeds: int
    gain: float


def simulate(case: Case, times: int, seed: int = 1) -> Counter[Verdict]:
    """Judge so many learning curves."""
    generator = np.random.default_rng(seed)
    found: Counter[Verdict] = Counter()
    for _ in range(times):
        hard = generator.normal(EASE, 1.0, size=(case.rows, 1))
        whole = hard + generator.normal(0.0, OWN, size=(case.rows, 1)) + case.gain / SLOPE
        half = hard + generator.normal(0.0, OWN, size=(case.rows, case.seeds))
        half += generator.normal(0.0, LUCK_OF_HALF, size=(1, case.seeds))
        sides = [_train(side, case, generator) for side in (half, whole)]
        found[judge_gain(*sides, is_right=True).verdict] += 1
    return found


def _train(rows: NDArray[np.float64], case: Case, generator: np.random.Generator) -> NDArray[np.float64]:
    """Return outcomes (rows, seeds) of trainings."""
    luck = generator.normal(0.0, LUCK, size=(1, case.seeds))
    chance = generator.normal(0.0, CHANCE, size=(case.rows, case.seeds))
    return (rows + luck + chance > 0).astype(np.float64)


def tabulate(times: int) -> str:
    """Return the table, in Markdown."""
    lines = [
        "| evaluation rows | seeds | gain, points | more would help | no gain worth it | not enough |",
        "|" + "---|" * 6,
    ]
    for rows, seeds in ((200, 3), (1000, 3), (1000, 5)):
        for gain in (0.0, 0.01, 0.03, 0.06):
            found = simulate(Case(rows, seeds, gain), times)
            shares = " | ".join(f"{100 * found[one] / times:.1f} %" for one in Verdict)
            lines.append(f"| {rows} | {seeds} | {100 * gain:g} | {shares} |")
            print(lines[-1], flush=True)
    return "\n".join(lines)


def main() -> None:
    """Print the table."""
    print_table(__doc__, tabulate, times=TIMES, counted="curves of each case")


if __name__ == "__main__":
    main()
