"""A card that is full: the micro-batch is halved and nothing else changes; where that is no help, the error says so."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.gpu_check.findings import Context, NotRunError
from benchmarks.gpu_check.material import (
    build_engine,
    configure,
    draw_labelled_rows,
    draw_token_rows,
    ensure_base,
    load_problem,
)

if TYPE_CHECKING:
    from finetune30.config import ExperimentConfig
    from finetune30.data.encoding import EncodedSplit
    from finetune30.training.progress import TrainingResult

_ROWS, _LENGTH, _STEPS = 32, 512, 2
_LITTLE, _TOO_LITTLE = 1536 << 20, 200 << 20


def check(context: Context) -> None:
    """Train with the card free, with 1.5 GB left, with 200 MB left, and once more with the card free."""
    if not context.on_gpu:
        raise NotRunError("memory that runs out is made by filling a GPU")
    from finetune30.errors import OutOfMemoryError

    split = _rows_of_one_length(context)
    config = configure(ensure_base(context, "distilbert"), per_device_train_batch_size=_ROWS, max_steps=_STEPS)
    expected = _train(config, context, split, left=None)
    context.figure("card free: loss", f"{_loss(expected):.6f}, {expected.progress.memory_retries} halvings")
    found = _train(config, context, split, left=_LITTLE)
    retries = found.progress.memory_retries
    context.assert_that(retries >= 1, "1.5 GB left: halvings", str(retries), "at least 1")
    gap = abs(_loss(found) - _loss(expected)) / _loss(expected)
    context.assert_below(gap, 1e-5, "1.5 GB left: loss against the card free")
    try:
        _train(config, context, split, left=_TOO_LITTLE)
        told = "it trained"
    except OutOfMemoryError as error:
        told = f"{type(error).__name__}, advice: {error.remedy}"
    except RuntimeError as error:
        told = f"{type(error).__name__}: {error}"
    wanted = "OutOfMemoryError, advice: start a new run with"
    context.assert_that(told.startswith(wanted), "200 MB left", told, "OutOfMemoryError, with what to do")
    after = _train(config, context, split, left=None)
    context.assert_below(abs(_loss(after) - _loss(expected)), 1e-5, "card free again: loss")


def _rows_of_one_length(context: Context) -> EncodedSplit:
    from finetune30.data.encoding import EncodedSplit

    tokens = draw_token_rows(context, [_LENGTH] * _ROWS)
    labels = (np.arange(_ROWS) % 2).astype(np.int64)
    return EncodedSplit(tokens.row_ids, tokens.tokens, tokens.offsets, None, labels, tokens.truncated)


def _train(config: ExperimentConfig, context: Context, split: EncodedSplit, left: int | None) -> TrainingResult:
    """Train in float32 while all but `left` bytes of the card are taken by somebody else."""
    import torch

    from finetune30.modeling.memory import free_memory
    from finetune30.training.loop import train
    from finetune30.training.progress import QuietHooks

    engine = build_engine(config, context.device, "fp32")
    free_memory(engine.device)
    filler: Any = None
    try:
        if left is not None:
            # torch.empty takes what cudaMalloc gives; no page of it has to be touched.
            filler = torch.empty(torch.cuda.mem_get_info()[0] - left, dtype=torch.uint8, device=engine.device)
        few = draw_labelled_rows(context, 4, 16)  # an evaluation of all rows would need memory of its own
        return train(engine, split, few, config.training, load_problem(config), QuietHooks())
    finally:
        del filler
        engine.release()


def _loss(result: TrainingResult) -> float:
    return float(result.metrics["train_loss"])
