"""What a saved model answers, found without finetune30: PEFT and transformers alone, one text at a time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import torch
from peft import AutoPeftModelForSequenceClassification
from transformers import AutoTokenizer


def plain_logits(
    model_folder: Path, texts: Sequence[str], pairs: Sequence[str] | None = None, *, outputs: int
) -> list[list[float]]:
    """Return the logits of every text (or pair)."""
    model = AutoPeftModelForSequenceClassification.from_pretrained(str(model_folder), num_labels=outputs).eval()
    tokenizer = AutoTokenizer.from_pretrained(str(model_folder))
    found = []
    for number, text in enumerate(texts):
        both = [text] if pairs is None else [text, pairs[number]]
        encoded = tokenizer(*both, return_tensors="pt")
        with torch.inference_mode():
            found.append(
                model(input_ids=encoded["input_ids"], attention_mask=encoded["attention_mask"]).logits[0].tolist()
            )
    return found


def softmax(logits: Sequence[float]) -> list[float]:
    """Shares of classes that exclude each other."""
    powers = [math.exp(logit) for logit in logits]
    return [power / sum(powers) for power in powers]


def sigmoid(logits: Sequence[float]) -> list[float]:
    """Shares of labels that do not."""
    return [1 / (1 + math.exp(-logit)) for logit in logits]
