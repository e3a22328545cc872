"""Rows behind each other in one sequence: what a row is answered, and teaches, does not depend on those beside it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.gpu_check.findings import Context
from benchmarks.gpu_check.material import (
    FIRST_WORD,
    build_engine,
    configure,
    draw_token_rows,
    ensure_base,
    give_values_to_b,
    gradients,
    largest_gap,
)

if TYPE_CHECKING:
    from finetune30.data.batching import Batch
    from finetune30.training.general import GeneralEngine
    from finetune30.training.packing import PackedBatch

#: Below, at and above the tiles of attention kernels, the shortest row there is, and one that fills a sequence.
_LENGTHS = (1, 15, 16, 17, 2048)
_TINY_LENGTHS = (1, 15, 16, 17, 64)
#: Nats a token by which a row may differ from itself alone, and relative distance of gradients.
_LIMITS = {"fp32": (1e-4, 1e-3), "bf16": (5e-2, 5e-2)}


def check(context: Context) -> None:
    """Compare rows alone with rows in a pack, losses and gradients; let the product's own probe judge too."""
    base = ensure_base(context, "llama, 2 layers")
    for precision in _LIMITS:
        _check_precision(context, build_engine(configure(base, causal=True), context.device, precision), precision)


def _check_precision(context: Context, engine: GeneralEngine, precision: str) -> None:
    from finetune30.data.batching import collate
    from finetune30.errors import ModelError
    from finetune30.training.packing import choose_packing, pack

    give_values_to_b(engine)
    split = draw_token_rows(context, _LENGTHS if context.on_gpu else _TINY_LENGTHS)
    try:
        reason = choose_packing(engine, split, "on")[1]
        context.assert_that(True, f"{precision}: the product's own probe", reason, "packs")
    except ModelError as error:
        context.assert_that(False, f"{precision}: the product's own probe", str(error), "packs")
    batch = collate(split, np.arange(len(split)), engine.pad_token_id)
    packed = pack(batch, engine.pad_token_id, int(batch.lengths.sum()))
    found, of_losses, of_gradients = _losses(engine, packed, batch), *_LIMITS[precision]
    for row, length in enumerate(batch.lengths):
        alone = engine.outputs(batch.part(np.asarray([row])))[0, :length, 0]
        gap = float(np.abs(found[row] - alone).mean())
        context.assert_below(gap, of_losses, f"{precision}: row of {length} in a pack against alone, nats a token")
    for changed in range(len(batch)):
        moved = _losses(engine, _with_another_row(packed, batch, changed), batch)
        others = [row for row in range(len(batch)) if row != changed and not np.array_equal(moved[row], found[row])]
        context.assert_that(
            not others,
            f"{precision}: other tokens in the row of {batch.lengths[changed]}",
            f"{len(others)} other rows move",
            "no bit of another row moves",
        )
    context.assert_below(
        _compare_gradients(engine, batch), of_gradients, f"{precision}: gradients of a pack against its rows alone"
    )


def _losses(engine: GeneralEngine, packed: PackedBatch, batch: Batch) -> list[Any]:
    outputs = engine.packed_outputs(packed)
    pairs = zip(packed.places, batch.lengths, strict=True)
    return [outputs[sequence, start : start + length, 0] for (sequence, start), length in pairs]


def _with_another_row(packed: PackedBatch, batch: Batch, row: int) -> PackedBatch:
    ids = packed.input_ids.copy()
    sequence, start = packed.places[row]
    part = slice(start, start + batch.lengths[row])
    ids[sequence, part] = np.where(ids[sequence, part] == FIRST_WORD, FIRST_WORD + 1, FIRST_WORD)
    return replace(packed, input_ids=ids)


def _compare_gradients(engine: GeneralEngine, batch: Batch) -> float:
    engine.packs = True
    engine.accumulate(batch, 1e-3)
    together = gradients(engine)
    engine.discard_gradients()
    engine.packs = False
    for row in range(len(batch)):
        if batch.lengths[row] > 1:  # the last token of a row asks nothing
            engine.accumulate(batch.part(np.asarray([row])), 1e-3)
    alone = gradients(engine)
    engine.discard_gradients()
    return largest_gap(together, alone)
