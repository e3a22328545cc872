"""How often rows that come in groups make equal runs look different, row by row and group by group, by simulation.

    python -m benchmarks.grouped_rows --times 400 --output build/grouped_rows.md

Rows of one author, document or patient are not as many opinions as there are rows. A row is right where its difficulty,
what its run makes of it and chance together are above 0; `shared` is how much of what a run makes of a row it makes of
the whole group (the correlation within groups of that part). Two runs are equally good but for `lead`, and judged as
`ft30 compare` judges rows without groups (McNemar), and by turning the signs of whole groups, as it does with them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.search_ends import CHANCE, EASE, OWN, SLOPE
from benchmarks.table_command import print_table
from finetune30.service.statistics.mcnemar import compare_paired

LEVEL = 0.05
SIGNS = 999
TIMES = 400


@dataclass(frozen=True)
class Case:
    """Groups, rows of each, the share that is the group's (0-1), and the lead of the second run in right rows (0-1)."""

    groups: int
    size: int
    shared: float
    lead: float


def simulate(case: Case, times: int, seed: int = 1) -> tuple[float, float]:
    """Return how often two runs are told apart at 5 %: row by row, and group by group."""
    generator = np.random.default_rng(seed)
    signs = generator.choice((-1.0, 1.0), size=(SIGNS, case.groups))
    by_row = by_group = 0
    for _ in range(times):
        right = _train(case, generator)
        by_row += compare_paired(right[0].ravel().tolist(), right[1].ravel().tolist()).p_value < LEVEL
        by_group += turn_groups((right[1].astype(float) - right[0]).sum(axis=1), signs) < LEVEL
    return by_row / times, by_group / times


def turn_groups(sums: NDArray[np.float64], signs: NDArray[np.float64]) -> float:
    """Return the p-value of the paired permutation test over groups, of each group's sum of differences, (groups,).

    Were both runs alike, the difference of a whole group could as well have had the other sign; `signs` are (draws,
    groups).
    """
    turned = np.abs(signs @ sums) >= abs(sums.sum()) - 1e-9
    return float(np.count_nonzero(turned) + 1) / (len(signs) + 1)


def _train(case: Case, generator: np.random.Generator) -> NDArray[np.bool_]:
    """Return whether rows are right, (runs, groups, rows of a group)."""
    shape = (case.groups, case.size)
    hard = generator.normal(EASE, 1.0, size=shape)
    own = np.sqrt(case.shared) * generator.normal(0.0, OWN, size=(2, case.groups, 1))
    own = own + np.sqrt(1 - case.shared) * generator.normal(0.0, OWN, size=(2, *shape))
    own[1] += case.lead / SLOPE
    return hard + own + generator.normal(0.0, CHANCE, size=(2, *shape)) > 0


def tabulate(times: int) -> str:
    """Return the table, in Markdown."""
    lines = [
        "| groups | rows of each | shared | told apart though equal: by rows | by groups | 6 points apart: by groups |",
        "|" + "---|" * 6,
    ]
    for groups, size in ((60, 10), (20, 30), (20, 100), (8, 75)):
        for shared in (0.0, 0.5, 1.0):
            equal = simulate(Case(groups, size, shared, 0.0), times)
            _, found = simulate(Case(groups, size, shared, 0.06), times)
            lines.append(f"| {groups} | {size} | {shared:g} | {equal[0]:.1%} | {equal[1]:.1%} | {found:.0%} |")
            print(lines[-1], flush=True)
    return "\n".join(lines)


def main() -> None:
    """Print the table."""
    print_table(__doc__, tabulate, times=TIMES, counted="pairs of runs of each case")


if __name__ == "__main__":
    main()
