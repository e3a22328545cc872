"""How many evaluation rows tell a difference of accuracy from chance, and which difference so many rows can tell.

Connor (1987, Biometrics 43:207-211) for McNemar's test: n = (a sqrt(D) + b sqrt(D - d^2))^2 / d^2 rows for a difference
d, where a share D of the rows is answered rightly by one of two models only; a and b are the normal quantiles of the
level (5 %, two-sided) and of the power (80 %).
"""

from __future__ import annotations

import math

#: Share of rows that two trainings of one configuration answer differently, until some were run and tell it: seeds of
#: the starter's preset differ on 9 to 13 % of its rows.
ASSUMED_DISCORDANT = 0.10
_LEVEL_QUANTILE = 1.959963984540054
_POWER_QUANTILE = 0.8416212335729143
_STEPS = 60


def rows_needed(difference: float, discordant: float = ASSUMED_DISCORDANT) -> int:
    """Return the rows that tell a difference (0-1, above 0) apart in 4 of 5 comparisons.

    A share of discordant rows below the difference is impossible: the difference counts then.
    """
    share = max(discordant, difference)
    root = _LEVEL_QUANTILE * math.sqrt(share) + _POWER_QUANTILE * math.sqrt(max(0.0, share - difference**2))
    return math.ceil((root / difference) ** 2)


def visible_difference(rows: int, discordant: float = ASSUMED_DISCORDANT) -> float:
    """Return the least difference (0-1) that so many rows (at least 1) tell apart in 4 of 5 comparisons; 1: none."""
    low, high = 0.0, 1.0
    for _ in range(_STEPS):  # rows_needed falls with the difference
        middle = (low + high) / 2
        if rows_needed(middle, discordant) > rows:
            low = middle
        else:
            high = middle
    return high
