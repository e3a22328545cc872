"""Loss of each row, by task."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 - the field's name


def row_losses(logits: torch.Tensor, labels: torch.Tensor, problem_type: str) -> torch.Tensor:
    """Return the loss of each row, shape (B,).

    logits: float (B, num_labels). labels: int64 (B,) for single-label (cross entropy), float (B, num_labels) for
    multi-label (binary cross entropy, mean over labels), float (B,) for regression (squared error).
    """
    if problem_type == "single_label_classification":
        return F.cross_entropy(logits, labels, reduction="none")
    if problem_type == "multi_label_classification":
        return F.binary_cross_entropy_with_logits(logits, labels.to(logits.dtype), reduction="none").mean(dim=-1)
    return (logits.squeeze(-1) - labels.to(logits.dtype)).square()
