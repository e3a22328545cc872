"""The lines of Python that load a model where finetune30 is not installed: peft and transformers are enough."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from finetune30.data.problem import Card
from finetune30.modeling.model_card import write_arguments
from finetune30.modeling.quantization_settings import QUANTIZING_PACKAGE, Quantization

_SCRIPT = '''"""Load this model and ask it: python use_model.py "some text" "another text"

It needs: pip install torch transformers peft{packages}
"""

import json
import os
import sys
from pathlib import Path

import torch
from peft import {auto_class}
from transformers import AutoTokenizer{further}

os.chdir(Path(__file__).resolve().parent)  # the adapter knows its base model by its place in this folder

learnt = json.loads(Path("adapter/labels.json").read_text(encoding="utf-8"))
names = learnt["label_names"]
options = {{{options}}}
{quantized}if names:
    options |= {{"id2label": dict(enumerate(names)), "label2id": {{name: i for i, name in enumerate(names)}}}}
model = {auto_class}.from_pretrained("adapter", **options).eval()
{settled}tokenizer = AutoTokenizer.from_pretrained("adapter")
model.config.pad_token_id = tokenizer.pad_token_id
{cleaning}{deciding}

def ask(text, second=None):
    """Return the answer to a text, or to a pair of texts."""
    encoded = tokenizer(text, second, truncation=True, max_length=learnt["max_length"], return_tensors="pt")
    with torch.inference_mode():
        logits = model(**encoded).logits[0]
{decided}    return {answer}


if __name__ == "__main__":
    for text in sys.argv[1:]:
        print(ask(text), text, sep="\\t")
'''
#: The base model was quantised for the training, and is quantised alike here.
_QUANTIZED = """options |= {{
    "quantization_config": BitsAndBytesConfig({settings}),
    "device_map": {{"": "cpu"}},
}}
"""
_SETTLED = """for module in model.modules():
    module.support_avx512bf16_for_cpu = False  # else some CPUs round what scales the weights once more
"""
#: How logits decide where the model answers by more than them: 0, or a tie, is at the thresholds of the labels.
_THRESHOLDS = """shares = [learnt.get("thresholds", {{}}).get(name, 0.5) for name in names]
shares = torch.tensor(shares, dtype=torch.float64)  # as they were tuned: float32 cannot tell 0.99999999 from 1
"""
_DECIDED = """    scaled = logits.double() / learnt.get("temperature", 1.0)
    logits = scaled - shares.logit()
"""
_WITHHELD = """    if {confidence} < learnt["least_confidence"]:
        return None  # not sure
"""


def write_usage_script(card: Card, described: Mapping[str, Any]) -> str:
    """Return use_model.py. `described` is what `load_targets` gives."""
    steps = ", ".join(str(step["step"]) for step in described["recipe"])
    cleaned = (
        f"# The training cleaned its texts first (labels.json, recipe: {steps}); clean yours alike.\n" if steps else ""
    )
    options = card.arguments.removeprefix(", ")
    named = ", ".join(f'"{key}": {value}' for key, _, value in (part.partition("=") for part in options.split(", ")))
    quantization, withholds = described.get("quantization"), bool(described.get("least_confidence"))
    decides = withholds or bool(described.get("thresholds"))
    return _SCRIPT.format(
        auto_class=card.auto_class,
        options=named if options else "",
        cleaning=cleaned,
        answer=card.reading,
        deciding=_THRESHOLDS.format() if decides else "",
        decided=(_DECIDED if decides else "") + (_WITHHELD.format(confidence=card.confidence) if withholds else ""),
        further=", BitsAndBytesConfig" if quantization else "",
        packages=f" {QUANTIZING_PACKAGE}" if quantization else "",
        quantized=_QUANTIZED.format(settings=_write_settings(quantization)) if quantization else "",
        settled=_SETTLED if quantization else "",
    )


def _write_settings(quantization: Mapping[str, Any]) -> str:
    return write_arguments(Quantization.restore(quantization).settings("float32"))
