"""Rows behind each other in one sequence instead of padding, where a model keeps them apart.

The rows of a forward pass stay those of the plan: packing changes how they lie, not what a step is made of. Positions
begin anew with every row and no mask is passed, from which transformers tells the rows of a sequence apart; whether a
model's layers heed that is tried on it, not looked up by its name.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from finetune30.data.batching import Batch, collate
from finetune30.data.encoding import IGNORED
from finetune30.errors import ModelError, first_line
from finetune30.modeling.memory import is_out_of_memory

if TYPE_CHECKING:
    from finetune30.data.encoding import EncodedSplit
    from finetune30.training.general import GeneralEngine

Packing = Literal["auto", "on", "off"]
#: A sequence is as long as the longest row, and at least this: attention costs with the square of it.
_LEAST_WIDTH = 1024
#: How much a row's losses may differ from those of the row alone: so many times what padding does, and nats a token.
_TIMES_PADDING, _NATS = 4.0, 1e-4
#: Rows that are tried, and how many tokens of each.
_ROWS_PROBED, _MOST_PROBED = 3, 1024


@dataclass(frozen=True)
class PackedBatch:
    """Rows behind each other. Shapes: input_ids, position_ids, targets int64 (S, W); places int64 (B, 2).

    `places`: sequence and first position of each row of the batch. What fills the end of a sequence is a row of its
    own, of which nothing is asked.
    """

    input_ids: NDArray[np.int64]
    position_ids: NDArray[np.int64]
    targets: NDArray[np.int64]
    places: NDArray[np.int64]


def pack(batch: Batch, pad_token_id: int, least_width: int = _LEAST_WIDTH) -> PackedBatch:
    """Lay the rows of a batch behind each other, each where it fits first, longest first (first-fit decreasing)."""
    width = max(int(batch.lengths.max()), least_width)
    filled: list[int] = []
    places = np.zeros((len(batch), 2), dtype=np.int64)
    for row in np.argsort(-batch.lengths, kind="stable"):
        length = int(batch.lengths[row])
        sequence = next((i for i, used in enumerate(filled) if used + length <= width), len(filled))
        if sequence == len(filled):
            filled.append(0)
        places[row] = sequence, filled[sequence]
        filled[sequence] += length
    width = max(filled)
    input_ids = np.full((len(filled), width), pad_token_id, dtype=np.int64)
    targets = np.full(input_ids.shape, IGNORED, dtype=np.int64)
    position_ids = np.zeros_like(input_ids)
    for sequence, used in enumerate(filled):
        position_ids[sequence, used:] = np.arange(width - used)
    for row, (sequence, start) in enumerate(places):
        length = int(batch.lengths[row])
        part = slice(start, start + length)
        input_ids[sequence, part] = batch.input_ids[row, :length]
        targets[sequence, part] = batch.targets[row, :length]
        position_ids[sequence, part] = np.arange(length)
    return PackedBatch(input_ids, position_ids, targets, places)


def choose_packing(engine: GeneralEngine, split: EncodedSplit, wanted: Packing) -> tuple[bool, str]:
    """Return whether rows are packed, and why. Raises ModelError where they have to be and cannot be kept apart."""
    if wanted == "off":
        return False, "as configured"
    if wanted == "auto" and engine.device == "cpu":
        return False, "on a CPU the padding of rows of like length costs less than a mask of all rows by all rows"
    reason = _find_obstacle(engine, split)
    if reason is None:
        return True, "rows in one sequence were answered as alone"
    if wanted == "on":
        raise ModelError(f"training.packing is on, but {reason}", "set training.packing to auto or off")
    return False, reason


def _find_obstacle(engine: GeneralEngine, split: EncodedSplit) -> str | None:
    if not split.targets_per_token:
        return "this problem asks for one target a row"
    if len(split) < _ROWS_PROBED:
        return f"there are fewer than {_ROWS_PROBED} rows"
    if not takes_positions(engine.model):
        return f"models of type '{engine.model.config.model_type}' take no positions"
    try:
        return _probe(engine, split)
    except (RuntimeError, TypeError, ValueError, IndexError) as error:
        if is_out_of_memory(error):
            raise
        return f"packed rows cannot be computed ({first_line(error)})"


def takes_positions(model: Any) -> bool:
    """Return whether a causal model can be told where each token stands in its row."""
    return "position_ids" in inspect.signature(model.get_decoder().forward).parameters


def _probe(engine: GeneralEngine, split: EncodedSplit) -> str | None:
    """Return what three rows in one sequence say against packing.

    What stands before a row may not change a bit of what is made of it; and packed it is what it is alone, within what
    the padding of a batch does to it.
    """
    order = np.argsort(-split.lengths, kind="stable")
    rows = order[[len(order) // 10, len(order) // 2, -1 - len(order) // 10]]
    batch = _probing_batch(split, rows, engine.pad_token_id)
    packed = pack(batch, engine.pad_token_id, int(batch.lengths.sum()))
    found = _by_row(engine.packed_outputs(packed), packed, batch)
    beside = _by_row(engine.packed_outputs(_with_another_first_row(packed, batch)), packed, batch)
    if any(not np.array_equal(mine, other) for mine, other in zip(found[1:], beside[1:], strict=True)):
        return "rows in one sequence read each other"
    padded = engine.outputs(batch)[..., 0]
    for row, length in enumerate(batch.lengths):
        alone = engine.outputs(batch.part(np.asarray([row])))[0, :, 0]
        noise = float(np.abs(padded[row, :length] - alone).mean())
        gap = float(np.abs(found[row] - alone).mean())
        if not gap <= _TIMES_PADDING * noise + _NATS:
            return f"a row in one sequence with others is answered otherwise than alone (by {gap:.2g} nats a token)"
    return None


def _probing_batch(split: EncodedSplit, rows: NDArray[np.int64], pad_token_id: int) -> Batch:
    """Return a batch of the rows' beginnings that asks for every next token, so that context counts as answers do."""
    batch = collate(split, rows, pad_token_id)
    ids, mask = batch.input_ids[:, :_MOST_PROBED], batch.attention_mask[:, :_MOST_PROBED]
    lengths = np.minimum(batch.lengths, _MOST_PROBED)
    targets = np.full_like(ids, IGNORED)
    targets[:, :-1] = np.where(mask[:, 1:] == 1, ids[:, 1:], IGNORED)
    return Batch(rows, ids, mask, None, targets, lengths, split)


def _with_another_first_row(packed: PackedBatch, batch: Batch) -> PackedBatch:
    """Return the same but for every token of the longest row, which is the first of its sequence."""
    ids = packed.input_ids.copy()
    length, token = batch.lengths[0], ids[0, -1]
    ids[0, :length] = np.where(ids[0, :length] == token, max(token - 1, 0) or token + 1, token)
    return replace(packed, input_ids=ids)


def _by_row(outputs: NDArray[np.float32], packed: PackedBatch, batch: Batch) -> list[NDArray[np.float32]]:
    """Return the losses of each row of the batch, float32 (length,)."""
    return [
        outputs[sequence, start : start + length, 0]
        for (sequence, start), length in zip(packed.places, batch.lengths, strict=True)
    ]
