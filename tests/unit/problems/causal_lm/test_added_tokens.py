"""Tokens added to tokenizer and model: trained, saved, read by another process, and every other row as it was."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from finetune30.config import ModelConfig
from finetune30.modeling.base import find_base, load_tokenizer
from support.chat_models import build_tiny_chat
from support.language_engines import build_language_engine

ADDED = ["<shop>", "<tea>"]
#: Loads the adapter with plain PEFT and writes down what it holds and answers.
SCRIPT = """
import json, sys
import torch
from peft import AutoPeftModelForCausalLM
from safetensors.torch import save_file
from transformers import AutoTokenizer
folder, asked = sys.argv[1:]
tokenizer = AutoTokenizer.from_pretrained(folder)
model = AutoPeftModelForCausalLM.from_pretrained(folder).merge_and_unload().eval()
ids = torch.tensor([json.loads(asked)])
with torch.inference_mode():
    logits = model(input_ids=ids, use_cache=False).logits[0].contiguous()
rows = model.get_input_embeddings().weight.detach().clone().contiguous()
save_file({"rows": rows, "logits": logits}, folder + "/found.safetensors")
print(json.dumps([len(tokenizer), tokenizer.convert_tokens_to_ids(["<shop>", "<tea>"])]))
"""


def build_with_added_tokens(folder: Path) -> list[int]:
    """Write a tiny chat model with two tokens more; return their ids."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    build_tiny_chat(folder)
    tokenizer: Any = AutoTokenizer.from_pretrained(str(folder))
    tokenizer.add_tokens(ADDED)
    model: Any = AutoModelForCausalLM.from_pretrained(str(folder))
    torch.manual_seed(0)
    model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    tokenizer.save_pretrained(str(folder))
    model.save_pretrained(str(folder))
    found: list[int] = tokenizer.convert_tokens_to_ids(ADDED)
    return found


def test_added_tokens_are_trained_saved_and_read_by_a_new_process(tmp_path: Path) -> None:
    base, saved = tmp_path / "base", tmp_path / "adapter"
    ids = build_with_added_tokens(base)
    trained = build_language_engine(base, lora={"r": 2, "trainable_token_indices": ids})
    for _ in range(3):
        trained.take_step()
    trained.engine.save_adapter(saved)
    load_tokenizer(find_base(ModelConfig(name=str(base)))).save_pretrained(str(saved))
    asked = [*ids, *trained.split.tokens[:5].tolist()]
    with trained.engine.lend() as lent, torch.inference_mode():
        model: Any = lent.model
        learnt = model(input_ids=torch.tensor([asked]), use_cache=False).logits[0]
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(saved), json.dumps(asked)], capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout) == [max(ids) + 1, ids]
    found = load_file(saved / "found.safetensors")
    before = load_file(base / "model.safetensors")["model.embed_tokens.weight"]
    assert found["rows"].shape == before.shape  # never shrunk
    others = [row for row in range(len(before)) if row not in ids]
    assert torch.equal(found["rows"][others], before[others])
    assert not torch.equal(found["rows"][ids], before[ids])
    torch.testing.assert_close(found["logits"], learnt, atol=1e-5, rtol=1e-4)
