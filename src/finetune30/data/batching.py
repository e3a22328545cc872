"""The order of training and the shape of batches.

The order is a pure function of (lengths, rows per step, seed, epoch): resuming in the middle of an epoch needs a
position and nothing else, and every process of a distributed run computes the same plan.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from finetune30.data.encoding import IGNORED, EncodedSplit

#: Steps whose rows are sorted by length together. Large enough to remove most padding, small enough to keep the
#: order random (transformers' group_by_length uses 50 batches for the same trade).
STEPS_PER_BUCKET = 50


@dataclass(frozen=True)
class Batch:
    """Rows padded to a common length.

    Shapes: rows int64 (B,) indices into the split; input_ids, attention_mask int64 (B, L); token_type_ids int64 (B, L)
    or None; lengths int64 (B,); targets as in the split, one a row, or one a token: (B, L) with IGNORED in the padding.
    `split` is where they come from.
    """

    rows: NDArray[np.int64]
    input_ids: NDArray[np.int64]
    attention_mask: NDArray[np.int64]
    token_type_ids: NDArray[np.int64] | None
    targets: NDArray[Any]
    lengths: NDArray[np.int64]
    split: EncodedSplit | None = None

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def asked(self) -> int:
        """How many targets it has: supervised tokens where targets are one a token, else rows."""
        return int((self.targets != IGNORED).sum()) if self._asks_tokens else len(self.rows)

    @property
    def _asks_tokens(self) -> bool:
        return self.split is not None and self.split.targets_per_token

    def part(self, rows: slice | NDArray[np.int64]) -> Batch:
        """Return some of the rows, padded no further than they need."""
        lengths = self.lengths[rows]
        width = int(lengths.max())
        types = None if self.token_type_ids is None else self.token_type_ids[rows, :width]
        return Batch(
            self.rows[rows],
            self.input_ids[rows, :width],
            self.attention_mask[rows, :width],
            types,
            self.targets[rows, :width] if self._asks_tokens else self.targets[rows],
            lengths,
            self.split,
        )


def epoch_order(lengths: NDArray[np.int64], rows_per_step: int, seed: int, epoch: int) -> list[NDArray[np.int64]]:
    """Return the row indices of every optimizer step of an epoch, longest row first within a step.

    Every row stands in exactly one step; only the step with the remainder is shorter, and it comes last, so that
    the learning-rate schedule meets it at the same place in each epoch.
    """
    generator = np.random.Generator(np.random.PCG64([seed, epoch]))
    shuffled = generator.permutation(len(lengths)).astype(np.int64)
    full = len(shuffled) - len(shuffled) % rows_per_step
    remainder = shuffled[full:]
    bucket = rows_per_step * STEPS_PER_BUCKET
    steps: list[NDArray[np.int64]] = []
    for start in range(0, full, bucket):
        rows = _longest_first(shuffled[start : min(start + bucket, full)], lengths)
        steps += list(rows.reshape(-1, rows_per_step))
    ordered = [steps[i] for i in generator.permutation(len(steps))]
    return [*ordered, _longest_first(remainder, lengths)] if len(remainder) else ordered


def evaluation_order(lengths: NDArray[np.int64], batch_size: int) -> list[NDArray[np.int64]]:
    """Return the row indices of evaluation batches, longest rows first: least padding, and memory shows at once."""
    rows = _longest_first(np.arange(len(lengths), dtype=np.int64), lengths)
    return step_batches(rows, batch_size)


def step_batches(rows: NDArray[np.int64], micro_batch_size: int) -> list[NDArray[np.int64]]:
    """Cut the rows of one optimizer step into forward passes."""
    return [rows[i : i + micro_batch_size] for i in range(0, len(rows), micro_batch_size)]


def collate(split: EncodedSplit, rows: NDArray[np.int64], pad_token_id: int) -> Batch:
    """Build a right-padded batch of the given rows."""
    starts, stops = split.offsets[rows], split.offsets[rows + 1]
    lengths = stops - starts
    width = int(lengths.max())
    inside = np.arange(width)[None, :] < lengths[:, None]
    source = (starts[:, None] + np.arange(width)[None, :])[inside]
    input_ids = np.full(inside.shape, pad_token_id, dtype=np.int64)
    input_ids[inside] = split.tokens[source]
    type_ids = None
    if split.type_ids is not None:
        type_ids = np.zeros(inside.shape, dtype=np.int64)
        type_ids[inside] = split.type_ids[source]
    if split.targets_per_token:
        targets = np.full(inside.shape, IGNORED, dtype=np.int64)
        targets[inside] = split.targets[source]
    else:
        targets = split.targets[rows]
    return Batch(rows, input_ids, inside.astype(np.int64), type_ids, targets, lengths, split)


def _longest_first(rows: NDArray[np.int64], lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    return rows[np.argsort(-lengths[rows], kind="stable")]
