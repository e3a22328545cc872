"""Whether a model can compute in the precision that a run has, found by asking it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from finetune30.data.batching import Batch
from finetune30.errors import first_line
from finetune30.modeling.memory import is_out_of_memory

if TYPE_CHECKING:
    from finetune30.data.encoding import TextEncoder
    from finetune30.training.engine import Engine

_TEXT = "a b"


def find_failure(engine: Engine, encoder: TextEncoder, max_length: int, *, asks_tokens: bool) -> str | None:
    """Let an engine answer one short text; return the first line of what went wrong, None when nothing did.

    `asks_tokens`: targets are one a token. Weights of two precisions cannot be multiplied, and not every operation
    exists in every precision. Want of memory is no such failure and is raised.
    """
    (ids,) = encoder.encode([_TEXT], None, max_length).ids
    tokens = np.asarray([ids], dtype=np.int64)
    labels = tokens if asks_tokens else np.zeros(1, dtype=np.int64)
    lengths = np.asarray([len(ids)], dtype=np.int64)
    batch = Batch(np.zeros(1, dtype=np.int64), tokens, np.ones_like(tokens), None, labels, lengths)
    try:
        engine.outputs(batch)
    except (RuntimeError, TypeError, ValueError, IndexError) as error:
        if is_out_of_memory(error):
            raise
        return first_line(error)
    return None
