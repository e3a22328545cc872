"""Which configuration a trial tries: a function of the seed, its number and the results that it may see.

No generator and no study outlives a suggestion. Suggestion n sees what came of the trials up to n - window, and the
later ones as open even where they have ended: so it is the same on any number of workers, however often they are
killed, and `verify` can repeat it.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Literal

from finetune30.config.search import SearchConfig
from finetune30.service.searches.space import Label, Labels, Space

State = Literal["open", "done", "failed", "stopped"]
#: So often another configuration is drawn where one was tried before.
MOST_DRAWS = 20
#: Trials that are drawn at random before Optuna learns from them, as many as are its own default.
STARTUP_TRIALS = 10


@dataclass(frozen=True)
class Past:
    """An earlier trial: its labels (None: the space does not hold it), what it means, and what came of it.

    `value` of a stopped one is what it had where it was stopped.
    """

    number: int
    labels: Labels | None
    identity: str
    state: State
    value: float | None = None


@dataclass(frozen=True)
class Suggestion:
    """Labels of every parameter; `is_new` unless an earlier trial has that configuration."""

    labels: dict[str, Label]
    is_new: bool


def count_visible(number: int, window: int) -> int:
    """Return how many trials have to end before trial `number` is suggested: the first ones."""
    return max(0, number - window + 1)


def uses_optuna(search: SearchConfig, number: int) -> bool:
    """Tell whether a suggestion is Optuna's: not those of the start, which nothing has been learnt for."""
    return search.sampler == "tpe" and number >= max(STARTUP_TRIALS, search.window)


def suggest(
    space: Space, search: SearchConfig, number: int, past: Sequence[Past], *, greater_is_better: bool
) -> Suggestion | None:
    """Return the suggestion for trial `number` (from 1), of `past` trials 0 to number - 1; None at the end of a grid.

    Raises UsageError where Optuna is missing.
    """
    if search.sampler == "grid":
        point = next(islice(space.list_grid(), number - 1, None), None)
        return None if point is None else Suggestion(point, is_new=True)
    visible = count_visible(number, search.window)
    seen = [one if one.number < visible else replace(one, state="open", value=None) for one in past]
    tried = {one.identity for one in past}
    for draw in range(MOST_DRAWS + 1):
        seed = derive_seed(search.seed, number, draw)
        if uses_optuna(search, number):
            from finetune30.service.searches.tpe import suggest_by_tpe

            labels = suggest_by_tpe(space, seed, seen, greater_is_better=greater_is_better)
        else:
            labels = _draw(space, seed)
        if space.identify(space.settle(labels)) not in tried:
            return Suggestion(labels, is_new=True)
    return Suggestion(labels, is_new=False)


def derive_seed(seed: int, number: int, draw: int) -> int:
    """Return the seed (32 bits) of one draw for one trial."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{number}:{draw}".encode()).digest()[:4])


def _draw(space: Space, seed: int) -> dict[str, Label]:
    generator = random.Random(seed)
    return {key: space.place(key, generator.random()) for key in space.parameters}
