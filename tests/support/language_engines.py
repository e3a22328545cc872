"""An engine over a tiny chat model, as the product builds it, with rows to train it on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from finetune30.config.loading import validate_tree
from finetune30.data.batching import Batch, collate
from finetune30.data.encoding import EncodedSplit
from finetune30.modeling.base import find_base
from finetune30.modeling.devices import choose_placement
from finetune30.problems.trainables import load_trainable
from finetune30.training.general import GeneralEngine
from finetune30.training.paths import build_encoder, build_engine
from finetune30.training.problem import Trainable

ROWS = 12


class LanguageEngine(NamedTuple):
    """What `build_language_engine` makes."""

    engine: GeneralEngine
    problem: Trainable
    split: EncodedSplit

    def batch(self, rows: Any = None) -> Batch:
        """Return some rows, all of them unless said."""
        return collate(self.split, np.arange(len(self.split)) if rows is None else rows, self.engine.pad_token_id)

    def take_step(self, learning_rate: float = 0.01) -> float:
        """Take an optimizer step on all rows; return their loss a supervised token."""
        weight = self.problem.weight(self.split, np.arange(len(self.split)))
        loss = float(self.engine.accumulate(self.batch(), 1 / weight)) / weight
        self.engine.step(learning_rate)
        return loss


def build_language_engine(
    base: Path,
    *,
    lora: dict[str, Any] | None = None,
    model: dict[str, Any] | None = None,
    precision: str = "fp32",
    **training: Any,
) -> LanguageEngine:
    """Return the general engine on the CPU, without LoRA dropout unless asked for, and 12 rows of 1 to 80 words."""
    config = validate_tree(
        {
            "model": {"name": str(base), "problem_type": "causal_lm", "dropout": None, **(model or {})},
            "lora": {"lora_dropout": 0.0, **(lora or {})},
            "training": {"precision": precision, "device": "cpu", **training},
        }
    )
    source = find_base(config.model)
    problem = load_trainable("causal_lm", {}).with_base(source, config, lambda _: None)
    encoder: Any = build_encoder("general", source, config.data.max_length, problem)
    generator = np.random.default_rng(0)
    words = [" ".join(["where", "is", "the", "shop"][i % 4] for i in range(n)) for n in generator.integers(1, 80, ROWS)]
    rows = [
        json.dumps({"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": text}]})
        for text in words
    ]
    split = encoder.encode_rows(rows, config.data.max_length)
    engine = build_engine("general", config, source, problem, choose_placement("cpu", precision))
    assert isinstance(engine, GeneralEngine)
    return LanguageEngine(engine, problem, split)


def logits_of(model: Any, trained: LanguageEngine) -> torch.Tensor:
    """Return a model's logits for every token of the engine's rows, float32 (N, V)."""
    batch = trained.batch()
    with torch.inference_mode():
        found: torch.Tensor = model(
            input_ids=torch.from_numpy(batch.input_ids),
            attention_mask=torch.from_numpy(batch.attention_mask),
            use_cache=False,
        ).logits
    return found[torch.from_numpy(batch.attention_mask).bool()].float()
