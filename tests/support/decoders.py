"""Tiny language models of the packed path's families, and batches for them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from finetune30.config import ExperimentConfig
from finetune30.data.batching import Batch
from finetune30.data.encoding import IGNORED
from finetune30.modeling.base import find_base
from finetune30.modeling.devices import Placement
from finetune30.problems.trainables import load_trainable
from finetune30.training.general import GeneralEngine
from finetune30.training.packed import PackedEngine
from finetune30.training.paths import build_engine
from support.chat_models import build_tiny_tokenizer

#: What each configuration adds to a Llama of two layers, four heads of sixteen numbers, two of keys and values.
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 10_000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}
KINDS: dict[str, dict[str, Any]] = {
    "llama": {"model_type": "llama"},
    "llama, untied and biased": {
        "model_type": "llama",
        "tie_word_embeddings": False,
        "attention_bias": True,
        "mlp_bias": True,
    },
    "llama 3.1": {"model_type": "llama", "rope_parameters": LLAMA3, "vocab_size": 309},  # a size that they do not take
    "mistral": {"model_type": "mistral", "sliding_window": 64, "tie_word_embeddings": False},
    "qwen2": {"model_type": "qwen2"},
    "qwen3": {"model_type": "qwen3", "head_dim": 32},
}
#: All linear layers of a layer by the ends of their names.
NAMES = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def build_tiny_decoder(folder: Path, kind: str = "llama", **changes: Any) -> Path:
    """Write a tiny model of `KINDS` with random weights, norms and biases too, and return its folder."""
    from transformers import AutoConfig, AutoModelForCausalLM

    tokenizer = build_tiny_tokenizer()
    tokenizer.save_pretrained(str(folder))
    settings = {
        "vocab_size": 320,  # more than the tokenizer has, and a size that the compiled products take
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 256,
        "tie_word_embeddings": True,
        "pad_token_id": 2,
        "bos_token_id": 1,
        "eos_token_id": 2,
        **KINDS[kind],
        **changes,
    }
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(**settings))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() > 1:
                parameter.mul_(4)  # so that attention is not the same everywhere
            elif "norm" in name:
                parameter.add_(torch.randn_like(parameter) * 0.2)
            else:
                parameter.copy_(torch.randn_like(parameter) * 0.2)
    model.save_pretrained(str(folder))
    return folder


def configure_decoder(folder: Path, *, lora: dict[str, Any] | None = None, **training: Any) -> ExperimentConfig:
    """Return a configuration for a local language model: LoRA on every linear layer, without dropout."""
    return ExperimentConfig.model_validate(
        {
            "model": {"name": str(folder), "problem_type": "causal_lm"},
            "lora": {"target_modules": "all-linear", "lora_dropout": 0.0, "r": 4, **(lora or {})},
            "data": {"max_length": 48},
            "training": training,
        }
    )


def token_batch(lengths: list[int], *, seed: int = 0, vocabulary: int = 300) -> Batch:
    """Return a batch of random tokens, of which about half are supervised, at least one in each row."""
    generator = np.random.default_rng(seed)
    sizes = np.asarray(lengths, dtype=np.int64)
    inside = np.arange(max(lengths))[None, :] < sizes[:, None]
    ids = np.where(inside, generator.integers(3, vocabulary, inside.shape), 2)
    asked = inside & (generator.random(inside.shape) < 0.5)
    asked[np.arange(len(sizes)), generator.integers(0, sizes)] = True
    targets = np.where(asked, generator.integers(3, vocabulary, inside.shape), IGNORED)
    return Batch(np.arange(len(sizes)), ids, inside.astype(np.int64), None, targets, sizes)


def build_both(
    folder: Path, lora: dict[str, Any], *, compiled: bool, precision: str = "fp32"
) -> tuple[GeneralEngine, PackedEngine]:
    """Return the general and the packed engine over one model and one adapter, whose B are not zero."""
    config = configure_decoder(folder, lora=lora, compiled_kernels=compiled, weight_decay=0.1)
    source, problem = find_base(config.model), load_trainable("causal_lm", {})
    placement = Placement("cpu", precision, "test")
    general, packed = (build_engine(path, config, source, problem, placement) for path in ("general", "packed"))
    assert isinstance(general, GeneralEngine)
    assert isinstance(packed, PackedEngine)
    # With B = 0 the gradient of A would be zero and hide mistakes.
    generator = torch.Generator().manual_seed(3)
    state = {
        name: torch.randn(value.shape, generator=generator) * 0.2 if "lora_B" in name else value
        for name, value in general.adapter_state().items()
    }
    assert packed.adapter_state().keys() == state.keys()
    for name, value in general.adapter_state().items():
        assert value.equal(packed.adapter_state()[name]), name
    general.load_adapter_state(state)
    packed.load_adapter_state(state)
    return general, packed
