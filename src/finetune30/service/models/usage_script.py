"""The lines of Python that load a model where finetune30 is not installed: peft and transformers are enough."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from finetune30.data.problem import Card

_SCRIPT = '''"""Load this model and ask it: python use_model.py "some text" "another text"

It needs: pip install torch transformers peft
"""

import json
import os
import sys
from pathlib import Path

import torch
from peft import {auto_class}
from transformers import AutoTokenizer

os.chdir(Path(__file__).resolve().parent)  # the adapter knows its base model by its place in this folder

learnt = json.loads(Path("adapter/labels.json").read_text(encoding="utf-8"))
names = learnt["label_names"]
options = {{{options}}}
if names:
    options |= {{"id2label": dict(enumerate(names)), "label2id": {{name: i for i, name in enumerate(names)}}}}
model = {auto_class}.from_pretrained("adapter", **options).eval()
tokenizer = AutoTokenizer.from_pretrained("adapter")
model.config.pad_token_id = tokenizer.pad_token_id
{cleaning}

def ask(text, second=None):
    """Return the answer to a text, or to a pair of texts."""
    encoded = tokenizer(text, second, truncation=True, max_length=learnt["max_length"], return_tensors="pt")
    with torch.inference_mode():
        logits = model(**encoded).logits[0]
    return {answer}


if __name__ == "__main__":
    for text in sys.argv[1:]:
        print(ask(text), text, sep="\\t")
'''


def write_usage_script(card: Card, described: Mapping[str, Any]) -> str:
    """Return use_model.py. `described` is what `load_targets` gives."""
    steps = ", ".join(str(step["step"]) for step in described["recipe"])
    cleaned = (
        f"# The training cleaned its texts first (labels.json, recipe: {steps}); clean yours alike.\n" if steps else ""
    )
    options = card.arguments.removeprefix(", ")
    named = ", ".join(f'"{key}": {value}' for key, _, value in (part.partition("=") for part in options.split(", ")))
    return _SCRIPT.format(
        auto_class=card.auto_class, options=named if options else "", cleaning=cleaned, answer=card.reading
    )
