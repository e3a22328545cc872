"""What a saved model answers, found without finetune30: PEFT and transformers alone, one text at a time."""

from __future__ import annotations

import json
import math
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch
from peft import AutoPeftModelForSequenceClassification
from transformers import AutoTokenizer


def plain_logits(
    model_folder: Path, texts: Sequence[str], pairs: Sequence[str] | None = None, *, outputs: int
) -> list[list[float]]:
    """Return the logits of every text (or pair)."""
    place = str(beside_its_base(model_folder))
    model = AutoPeftModelForSequenceClassification.from_pretrained(place, num_labels=outputs).eval()
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


def beside_its_base(model_folder: Path) -> Path:
    """Return a copy of a published adapter whose configuration names the place of its base, for the plain libraries."""
    note = json.loads((model_folder.parent / "base_model.json").read_text(encoding="utf-8"))
    copied = Path(tempfile.mkdtemp(dir=model_folder.parent.parent.parent.parent, prefix="plain-")) / "adapter"
    shutil.copytree(model_folder, copied)
    described = json.loads((copied / "adapter_config.json").read_text(encoding="utf-8"))
    described["base_model_name_or_path"] = note["folder"]
    (copied / "adapter_config.json").write_text(json.dumps(described), encoding="utf-8")
    return copied


def softmax(logits: Sequence[float]) -> list[float]:
    """Shares of classes that exclude each other."""
    powers = [math.exp(logit) for logit in logits]
    return [power / sum(powers) for power in powers]


def sigmoid(logits: Sequence[float]) -> list[float]:
    """Shares of labels that do not."""
    return [1 / (1 + math.exp(-logit)) for logit in logits]
