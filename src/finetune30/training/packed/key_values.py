"""Keys and values of tokens that were read, kept so that later tokens of their rows can look back at them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

#: Tokens for which rows get more room at a time, at least.
_ROOM = 64


@dataclass(frozen=True)
class KeptTokens:
    """What one layer keeps of the rows whose new tokens are read now, and where those rows stand.

    Shapes: keys and values (rows, room, width), written to; int64 (B,) each: places of the rows within them, before how
    many tokens they have already, first the first of these that is still looked at.
    """

    keys: Tensor
    values: Tensor
    places: Tensor
    before: Tensor
    first: Tensor


class KeyValues:
    """Keys and values of `rows` rows in all layers, whose heads of keys are `width` numbers wide together.

    `window`: how many tokens are looked at, None for all.
    """

    def __init__(self, layers: int, rows: int, width: int, dtype: torch.dtype, window: int | None) -> None:
        self._kept = torch.empty(layers, 2, rows, 0, width, dtype=dtype)
        self._window = window
        self.lengths = [0] * rows

    def grow(self, new: dict[int, int]) -> list[KeptTokens]:
        """Make room for so many new tokens of some rows; return what each layer needs to read them.

        With a window they are either the first of their rows, or one for each row: the first that is looked at is the
        same for all new tokens of a row. Raises ValueError otherwise.
        """
        before = [self.lengths[row] for row in new]
        for row, count in new.items():
            self.lengths[row] += count
        self._make_room(max(self.lengths[row] for row in new))
        first = [0] * len(before)
        if self._window is not None:
            first = [max(0, self.lengths[row] - self._window) for row in new]
            if any(start and count > 1 for start, count in zip(first, new.values(), strict=True)):
                raise ValueError("tokens that look at different windows are read one at a time")
        numbers = [torch.tensor(values, dtype=torch.int64) for values in (list(new), before, first)]
        return [KeptTokens(keys, values, *numbers) for keys, values in self._kept]

    def _make_room(self, tokens: int) -> None:
        layers, _, rows, room, width = self._kept.shape
        if tokens <= room:
            return
        wider = self._kept.new_empty(layers, 2, rows, max(tokens + _ROOM, room * 3 // 2), width)
        wider[:, :, :, :room] = self._kept
        self._kept = wider
