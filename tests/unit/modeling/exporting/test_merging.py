"""An adapter merged into its base gives its logits; embeddings that share weights, or were not trained, are guarded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from finetune30.config import LoraConfig, ModelConfig
from finetune30.errors import SelfTestError
from finetune30.modeling.adapters import build_adapter
from finetune30.modeling.base import find_base, load_tokenizer
from finetune30.modeling.causal import load_causal
from finetune30.modeling.exporting.merging import merge_adapter, save_merged
from finetune30.modeling.saved_targets import Reading, save_targets
from support.chat_models import build_tiny_chat

TOKENS = torch.tensor([[5, 9, 17, 30, 4]])


def adapt(folder: Path, **lora: Any) -> Any:
    """Return a tiny language model with an adapter of random values."""
    source = find_base(ModelConfig(name=str(folder)))
    config = LoraConfig.model_validate({"target_modules": ["q_proj", "v_proj"], "r": 2, **lora})
    model = build_adapter(
        load_causal(source, 2), config, source, [], 0, task_type="CAUSAL_LM", trains_head=False
    ).eval()
    torch.manual_seed(5)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * 0.1)
    return model


def merge_and_reload(tmp_path: Path, model: Any) -> tuple[torch.Tensor, Any]:
    """Return the adapter's logits, and the merged model as plain transformers loads it."""
    with torch.no_grad():
        wanted = model(input_ids=TOKENS).logits
    adapter, folder = tmp_path / "adapter", tmp_path / "merged"
    adapter.mkdir()
    save_targets(adapter, "causal_lm", {}, 32, [], Reading())
    save_merged(
        merge_adapter(model), load_tokenizer(find_base(ModelConfig(name=str(tmp_path / "base")))), adapter, folder
    )
    return wanted, AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize(
    "lora",
    [{}, {"use_dora": True}, {"modules_to_save": ["embed_tokens", "lm_head"]}, {"trainable_token_indices": [5, 9]}],
    ids=["lora", "dora", "whole-embeddings", "two-tokens"],
)
def test_a_merged_model_gives_the_adapters_logits_after_a_fresh_load(tmp_path, tied, lora):
    build_tiny_chat(tmp_path / "base", tied=tied)
    wanted, loaded = merge_and_reload(tmp_path, adapt(tmp_path / "base", **lora))
    with torch.no_grad():
        assert torch.allclose(loaded(input_ids=TOKENS).logits, wanted, atol=1e-5)
    assert (loaded.lm_head.weight is loaded.get_input_embeddings().weight) == tied


def test_embeddings_of_tokens_that_were_not_trained_stay_bit_for_bit(tmp_path):
    build_tiny_chat(tmp_path / "base")
    base: Any = AutoModelForCausalLM.from_pretrained(tmp_path / "base")
    before = base.get_input_embeddings().weight.detach()
    merged: Any = merge_adapter(adapt(tmp_path / "base", trainable_token_indices=[5, 9]))
    changed = (merged.get_input_embeddings().weight.detach() != before).any(dim=1).nonzero().flatten()
    assert changed.tolist() == [5, 9]


def test_an_embedding_that_changes_untrained_is_refused(tmp_path):
    build_tiny_chat(tmp_path / "base")
    model = adapt(tmp_path / "base", trainable_token_indices=[5, 9])
    model.get_base_model().get_input_embeddings().token_adapter.token_indices["default"] = [5, 8]
    with pytest.raises(SelfTestError, match="tokens that were not trained"):
        merge_adapter(model)


def test_head_and_embeddings_that_were_trained_apart_are_both_saved(tmp_path):
    build_tiny_chat(tmp_path / "base")
    model = adapt(tmp_path / "base", modules_to_save=["embed_tokens", "lm_head"])
    with torch.no_grad():
        head = model.get_base_model().lm_head.modules_to_save["default"]
        head.weight = torch.nn.Parameter(head.weight + 0.5 * torch.randn_like(head.weight))
    wanted, loaded = merge_and_reload(tmp_path, model)
    with torch.no_grad():
        assert torch.allclose(loaded(input_ids=TOKENS).logits, wanted, atol=1e-5)
    assert not loaded.config.tie_word_embeddings


def test_weights_that_are_not_finite_are_not_merged(tmp_path):
    build_tiny_chat(tmp_path / "base")
    model = adapt(tmp_path / "base")
    with torch.no_grad():
        model.get_base_model().model.layers[0].self_attn.q_proj.lora_B["default"].weight[0, 0] = float("nan")
    with pytest.raises(SelfTestError, match="cannot be merged"):
        merge_adapter(model)
