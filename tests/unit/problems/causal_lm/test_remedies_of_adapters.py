"""What an error about an adapter or a quantized base says to do is done to the letter."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from finetune30.config.loading import validate_tree
from finetune30.errors import ConfigError, DeviceError, ModelError
from finetune30.modeling.quantization import require_quantization
from finetune30.service.execution.warm_start import load_start_adapter
from support.chat_models import build_tiny_chat
from support.engines import build_general, configure
from support.language_engines import LanguageEngine, build_language_engine


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_chat(tmp_path_factory.mktemp("chat"))


def refusal(base: Path, **lora: Any) -> str:
    with pytest.raises(ModelError) as caught:
        build_language_engine(base, lora=lora)
    return str(caught.value.remedy)


def learns(trained: LanguageEngine) -> bool:
    return trained.take_step() > [trained.take_step() for _ in range(4)][-1]


def test_a_rank_that_the_smallest_layer_has_room_for_is_taken(base: Path) -> None:
    remedy = refusal(base, init_lora_weights="pissa", r=40)
    named = re.fullmatch(r"set lora\.r to at most (\d+), or leave it out of lora\.target_modules", remedy)
    assert named is not None
    assert learns(build_language_engine(base, lora={"init_lora_weights": "pissa", "r": int(named[1])}))
    wide = {"init_lora_weights": "pissa", "r": 20, "target_modules": ["q_proj", "k_proj"]}
    assert "at most 16" in refusal(base, **wide)
    assert learns(build_language_engine(base, lora={**wide, "target_modules": ["q_proj"]}))


@pytest.mark.parametrize("start", ["pissa", True])
def test_layers_stored_the_other_way_round_take_another_start(tiny_model: Any, start: str | bool) -> None:
    with pytest.raises(ModelError) as caught:
        build_general(configure(tiny_model("gpt2"), lora={"r": 2, "init_lora_weights": "olora"}))
    assert caught.value.remedy == "set lora.init_lora_weights to pissa or true"
    build_general(configure(tiny_model("gpt2"), lora={"r": 2, "init_lora_weights": start}))


def test_tied_embeddings_are_trained_whole_or_some_tokens_of_them(base: Path) -> None:
    assert refusal(base, target_modules=["q_proj", "lm_head"]) == (
        "leave it out; to train embeddings and head name embed_tokens in lora.modules_to_save, to train those of some "
        "tokens name their ids in lora.trainable_token_indices"
    )
    for others in ({}, {"modules_to_save": ["embed_tokens"]}, {"trainable_token_indices": [4, 5]}):
        assert learns(build_language_engine(base, lora={"target_modules": ["q_proj"], **others}))


def test_all_embeddings_are_trained_or_those_of_some_tokens(base: Path) -> None:
    both: dict[str, Any] = {"modules_to_save": ["embed_tokens"], "trainable_token_indices": [4]}
    assert refusal(base, **both) == (
        "leave them out of lora.target_modules and lora.modules_to_save, or leave trainable_token_indices out"
    )
    for left in both:
        build_language_engine(base, lora={left: both[left]})


def test_a_quantized_base_is_for_the_cpu_too() -> None:
    with pytest.raises(DeviceError) as caught:
        require_quantization("int8", "mps")
    assert caught.value.remedy == "name the device cpu, or train without model.quantization"
    require_quantization(None, "mps")


def test_a_published_start_is_an_ordinary_adapter_for_another_run(base: Path, tmp_path: Path) -> None:
    trained = build_language_engine(base, lora={"init_lora_weights": "olora", "r": 4})
    trained.take_step()
    trained.engine.save_adapter(tmp_path)
    tree = {"lora": {"init_lora_weights": "olora"}, "training": {"start_adapter": str(tmp_path)}}
    with pytest.raises(ConfigError, match=r"set init_lora_weights to true, lora\.r and lora_alpha to what"):
        validate_tree(tree)
    described = json.loads((tmp_path / "adapter_config.json").read_text(encoding="utf-8"))
    lora = {"init_lora_weights": True, "r": described["r"], "lora_alpha": described["lora_alpha"]}
    other = build_language_engine(base, lora=lora, start_adapter=str(tmp_path))
    other.engine.load_adapter_state(load_start_adapter(str(tmp_path)))
    found, wanted = other.engine.outputs(other.batch()), trained.engine.outputs(trained.batch())
    torch.testing.assert_close(torch.from_numpy(found), torch.from_numpy(wanted), atol=1e-5, rtol=1e-4)
