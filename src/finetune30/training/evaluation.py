"""Evaluation: logits of every row, loss and metrics, leaving training's random streams alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from finetune30 import failpoints
from finetune30.data.batching import collate, evaluation_order
from finetune30.data.encoding import EncodedSplit
from finetune30.training import processes
from finetune30.training.engine import Engine
from finetune30.training.losses import row_losses
from finetune30.training.memory import return_freed_memory
from finetune30.training.metrics import compute_metrics


def predict_logits(engine: Engine, split: EncodedSplit, batch_size: int) -> NDArray[np.float32]:
    """Return logits in the split's own row order, float32 (n, num_labels); longest rows run first."""
    batches = evaluation_order(split.lengths, batch_size)
    if not batches:
        return np.empty((0, 0), dtype=np.float32)
    return_freed_memory()  # what training's activations left, before other sizes are asked for
    # Every process takes its share; one without a share still runs a batch to learn the number of labels.
    mine = batches[processes.rank() :: processes.world_size()]
    found: NDArray[np.float32] | None = None
    for rows in mine or batches[:1]:
        failpoints.reach("evaluation.batch")
        logits = engine.logits(collate(split, rows, engine.pad_token_id))
        if found is None:
            found = np.zeros((len(split), logits.shape[1]), dtype=np.float32)
        if mine:
            found[rows] = logits
    assert found is not None  # noqa: S101 - there is at least one batch
    return processes.sum_array(found, engine.device)


def compute_evaluation(
    logits: NDArray[np.float32], labels: NDArray[Any], problem_type: str, label_names: tuple[str, ...]
) -> dict[str, Any]:
    """Return metrics with the `eval_` prefix; eval_loss is the mean over rows."""
    losses = row_losses(torch.from_numpy(logits), torch.from_numpy(labels), problem_type)
    metrics = compute_metrics(logits, labels, problem_type, label_names)
    return {"eval_loss": float(losses.double().mean()), **{f"eval_{name}": value for name, value in metrics.items()}}
