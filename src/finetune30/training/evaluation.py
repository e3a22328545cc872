"""Going over all rows of a split without training on them: outputs kept a row, or sums of what was measured."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from finetune30 import failpoints
from finetune30.data.batching import Batch, collate, evaluation_order
from finetune30.data.encoding import EncodedSplit
from finetune30.modeling.memory import describe_out_of_memory, return_freed_memory
from finetune30.training import processes
from finetune30.training.engine import Engine

_T = TypeVar("_T")
#: Outputs of a batch to what is kept of each row: float32 (B, k).
Keep = Callable[[NDArray[np.float32], Batch], NDArray[np.float32]]
#: What is measured of a batch's outputs: float64 (k,), summed over all batches.
Measure = Callable[[NDArray[np.float32], Batch], NDArray[np.float64]]


def predict_outputs(
    engine: Engine, split: EncodedSplit, batch_size: int, keep: Keep | None = None
) -> NDArray[np.float32]:
    """Return outputs in the split's own row order, float32 (n, outputs of a row); longest rows run first.

    `keep` makes of a batch's outputs what is kept of them, (B, k).
    """

    def predict() -> NDArray[np.float32] | None:
        found: NDArray[np.float32] | None = None
        for batch, given, is_mine in _answered(engine, split, batch_size):
            outputs = given if keep is None else keep(given, batch)
            if found is None:
                found = np.zeros((len(split), outputs.shape[1]), dtype=np.float32)
            if is_mine:
                found[batch.rows] = outputs
        return found

    found = within_everybodys_memory(predict, engine.device)
    if found is None:
        return np.empty((0, 0), dtype=np.float32)
    return processes.sum_array(found, engine.device)


def sum_over_rows(engine: Engine, split: EncodedSplit, batch_size: int, measure: Measure) -> NDArray[np.float64]:
    """Return the sum of what `measure` finds in each batch, over all rows and processes; no output is kept."""

    def add_up() -> NDArray[np.float64] | None:
        total: NDArray[np.float64] | None = None
        for batch, outputs, is_mine in _answered(engine, split, batch_size):
            found = measure(outputs, batch)
            if total is None:
                total = np.zeros_like(found)
            if is_mine:
                total += found
        return total

    total = within_everybodys_memory(add_up, engine.device)
    if total is None:
        raise ValueError("there are no rows to evaluate")
    return processes.sum_array(total, engine.device)


def within_everybodys_memory(evaluate: Callable[[], _T], device: str) -> _T:
    """Return what this process finds; where memory ran out in one process, it counts as run out in all of them.

    So all try again with a smaller batch, instead of waiting for a sum that one of them never comes to.
    """
    if processes.world_size() == 1:
        return evaluate()
    found: list[_T] = []
    problem = None
    try:
        found.append(evaluate())
    except (RuntimeError, MemoryError) as error:
        problem = describe_out_of_memory(error)
        if problem is None:
            raise
    if processes.any_process(problem is not None, device):
        raise torch.OutOfMemoryError(problem or "another process ran out of memory")
    return found[0]


def _answered(engine: Engine, split: EncodedSplit, batch_size: int) -> Iterator[tuple[Batch, NDArray[Any], bool]]:
    """Yield this process's batches with their outputs; without a share, one that is not its own, to learn the shape."""
    batches = evaluation_order(split.lengths, batch_size)
    if not batches:
        return
    return_freed_memory()  # what training's activations left, before other sizes are asked for
    mine = batches[processes.rank() :: processes.world_size()]
    for rows in mine or batches[:1]:
        failpoints.reach("evaluation.batch")
        batch = collate(split, rows, engine.pad_token_id)
        yield batch, engine.outputs(batch), bool(mine)
