"""Every reason for which an experiment is left to the general path."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from finetune30.errors import ModelError
from finetune30.modeling.base import find_base
from finetune30.modeling.devices import Placement
from finetune30.training.packed import supports
from support.decoders import KINDS, build_tiny_decoder, configure_decoder
from support.engines import CPU_FP32, build_packed, configure
from support.tiny_models import build_tiny_model


@pytest.mark.parametrize("family", ["distilbert", "bert", "roberta"])
def test_supports_the_family(tmp_path: Path, family: str) -> None:
    config = configure(build_tiny_model(tmp_path / "base", family))
    assert supports(config, find_base(config.model), CPU_FP32) is None


def test_refuses_other_model_types(tmp_path: Path) -> None:
    config = configure(build_tiny_model(tmp_path / "base", "llama"))
    assert "model type 'llama'" in str(supports(config, find_base(config.model), CPU_FP32))


@pytest.mark.parametrize(
    ("lora", "reason"),
    [
        ({"use_dora": True}, "lora.use_dora"),
        ({"bias": "all"}, "lora.bias is 'all'"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights is 'pissa'"),
        ({"modules_to_save": ["embeddings"]}, "modules_to_save names embeddings"),
        ({"target_modules": ["q_lin", "word_embeddings"]}, "word_embeddings name no linear layer"),
        ({"layers_to_transform": [7]}, "beyond the last layer"),
        ({"loraplus_lr_ratio": 4.0}, "lora.loraplus_lr_ratio is set"),
        ({"trainable_token_indices": [3]}, "lora.trainable_token_indices is set"),
    ],
)
def test_refuses_adapters_it_cannot_train(tmp_path: Path, lora: dict[str, Any], reason: str) -> None:
    config = configure(build_tiny_model(tmp_path / "base"), lora=lora)
    assert reason in str(supports(config, find_base(config.model), CPU_FP32))


def test_leaves_noise_and_quantised_bases_to_the_general_path(tmp_path: Path) -> None:
    folder = build_tiny_model(tmp_path / "base")
    noisy = configure(folder, neftune_noise_alpha=5.0)
    assert supports(noisy, find_base(noisy.model), CPU_FP32) == "training.neftune_noise_alpha is set"
    plain = configure(folder)
    config = plain.model_copy(update={"model": plain.model.model_copy(update={"quantization": "int8"})})
    assert supports(config, find_base(config.model), CPU_FP32) == "model.quantization is int8"


@pytest.mark.parametrize(
    ("device", "precision", "reason"), [("cuda:0", "bf16", "on cuda:0"), ("cpu", "fp16", "precision fp16")]
)
def test_refuses_other_devices_and_precisions(tmp_path: Path, device: str, precision: str, reason: str) -> None:
    config = configure(build_tiny_model(tmp_path / "base"))
    assert reason in str(supports(config, find_base(config.model), Placement(device, precision, "")))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"hidden_act": "silu"}, "activation 'silu'"),
        ({"position_embedding_type": "relative_key"}, "position embeddings of type 'relative_key'"),
        ({"is_decoder": True}, "sets is_decoder"),
        ({"max_position_embeddings": 24}, "above the model's 24 positions"),
        ({"intermediate_size": 96}, "has shape (64, 32), not (96, 32)"),
    ],
)
def test_refuses_architectures_it_does_not_know(tmp_path: Path, changes: dict[str, Any], reason: str) -> None:
    folder = build_tiny_model(tmp_path / "base", "bert")
    described = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**described, **changes}))
    config = configure(folder)
    assert reason in str(supports(config, find_base(config.model), CPU_FP32))


@pytest.mark.parametrize(
    "content", [b"", b"\xff" * 64, (8).to_bytes(8, "little") + b"not json"], ids=["empty", "wild", "text"]
)
def test_damaged_weights_are_named(tmp_path: Path, content: bytes) -> None:
    folder = build_tiny_model(tmp_path / "base")
    (folder / "model.safetensors").write_bytes(content)
    config = configure(folder)
    with pytest.raises(ModelError, match="not a safetensors file"):
        supports(config, find_base(config.model), CPU_FP32)


def test_weights_that_end_too_early_are_named(tmp_path: Path) -> None:
    folder = build_tiny_model(tmp_path / "base")
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-4000])
    with pytest.raises(ModelError, match="ends within its weights"):
        build_packed(configure(folder))


def _asked_of(folder: Path, *, max_length: int = 48, lora: dict[str, Any] | None = None, **training: Any) -> str | None:
    config = configure_decoder(folder, lora=lora, **training)
    data = config.data.model_copy(update={"max_length": max_length})
    config = config.model_copy(update={"data": data})
    return supports(config, find_base(config.model), CPU_FP32, scores_tokens=True)


@pytest.mark.parametrize("kind", KINDS)
def test_supports_language_models(tmp_path: Path, kind: str) -> None:
    assert _asked_of(build_tiny_decoder(tmp_path / "base", kind)) is None


@pytest.mark.parametrize(
    ("kind", "changes", "reason"),
    [
        ("llama", {"hidden_act": "gelu"}, "activation 'gelu' is not silu"),
        ("llama", {"attention_dropout": 0.1}, "attention drops out 0.1"),
        ("llama", {"rms_norm_eps": None}, "lacks rms_norm_eps"),
        ("llama", {"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e4, "factor": 2.0}}, "of type 'yarn'"),
        ("llama", {"rope_parameters": None, "rope_scaling": {"type": "linear", "factor": 2.0}}, "of type 'linear'"),
        ("llama", {"rope_parameters": {"rope_theta": 1e4, "partial_rotary_factor": 0.5}}, "a part of each head"),
        ("llama", {"attn_logit_softcapping": 50.0}, "sets attn_logit_softcapping"),
        ("llama", {"max_position_embeddings": 24}, "above the model's 24 positions"),
        ("llama", {"intermediate_size": 80}, "has shape (96, 64), not (80, 64)"),
        ("mistral", {"sliding_window": 32}, "looks back over 32 tokens"),
        ("qwen2", {"use_sliding_window": True, "sliding_window": 16}, "looks back over 16 tokens"),
        ("qwen3", {"layer_types": ["full_attention", "sliding_attention"]}, "a window of no size"),
        ("mistral", {"tie_word_embeddings": False, "vocab_size": 7}, "model.embed_tokens.weight has shape"),
    ],
    ids=str,
)
def test_refuses_language_models_it_does_not_know(
    tmp_path: Path, kind: str, changes: dict[str, Any], reason: str
) -> None:
    folder = build_tiny_decoder(tmp_path / "base", kind)
    described = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**described, **changes}))
    assert reason in str(_asked_of(folder))


@pytest.mark.parametrize(
    ("lora", "training", "reason"),
    [
        ({"use_dora": True}, {}, "lora.use_dora"),
        ({"modules_to_save": ["lm_head"]}, {}, "modules_to_save names lm_head"),
        ({"target_modules": ["q_proj", "lm_head"]}, {}, "lm_head name no linear layer"),
        ({}, {"gradient_checkpointing": True}, "training.gradient_checkpointing is on"),
    ],
    ids=str,
)
def test_refuses_adapters_of_language_models_it_cannot_train(
    tmp_path: Path, lora: dict[str, Any], training: dict[str, Any], reason: str
) -> None:
    assert reason in str(_asked_of(build_tiny_decoder(tmp_path / "base"), lora=lora, **training))


def test_refuses_an_encoder_as_a_language_model(tmp_path: Path) -> None:
    config = configure(build_tiny_model(tmp_path / "base", "bert"))
    reason = supports(config, find_base(config.model), CPU_FP32, scores_tokens=True)
    assert reason == "model type 'bert' is trained as a classifier only"
