"""Parameters counted from headers are those that PEFT really trains."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import torch

from finetune30.config import LoraConfig, ModelConfig
from finetune30.modeling.adapters import build_adapter
from finetune30.modeling.base import find_base
from finetune30.modeling.classifier import load_classifier
from finetune30.modeling.quantization import count_weights
from finetune30.modeling.sizes import count_parameters, count_quantized
from support.engines import build_general, configure
from support.quantized import needs_bitsandbytes
from support.tiny_models import build_tiny_model

CASES = [
    ("distilbert", {}),
    ("bert", {"r": 3}),
    ("roberta", {"target_modules": "all-linear"}),
    ("llama", {"target_modules": "all-linear", "use_dora": True}),
    ("bert", {"target_modules": ["query", "output.dense"], "layers_to_transform": [1]}),
    ("distilbert", {"modules_to_save": ["sa_layer_norm"]}),
    ("llama", {"trainable_token_indices": [3, 4, 9]}),
]


@pytest.mark.parametrize(("family", "lora"), CASES)
def test_counts_are_those_of_the_built_model(tmp_path, family, lora):
    folder = build_tiny_model(tmp_path / "base", family)
    model = ModelConfig(name=str(folder), num_labels=3)
    config = LoraConfig.model_validate({"target_modules": "auto", **lora})
    source = find_base(model)
    facts: dict[str, Any] = {
        "label_names": (),
        "num_labels": 3,
        "problem_type": "single_label_classification",
        "pad_token_id": 0,
    }
    base, new_weights = load_classifier(source, **facts)
    built = build_adapter(base, config, source, new_weights, 1)
    trainable = sum(weight.numel() for weight in built.parameters() if weight.requires_grad)
    counted = count_parameters(model, config)
    assert counted is not None
    assert counted[1] == trainable


@needs_bitsandbytes
@pytest.mark.parametrize("family", ["bert", "distilbert", "llama"])
def test_quantized_weights_are_those_that_bitsandbytes_quantises(tmp_path, family):
    folder = build_tiny_model(tmp_path / "base", family)
    config = configure(folder, lora={"modules_to_save": ["mlp"] if family == "llama" else None})
    quantization = config.model.model_copy(update={"quantization": "nf4"})
    engine = build_general(config.model_copy(update={"model": quantization}))
    quantized = sum(count_weights(p) for p in engine._model.parameters() if p.dtype == torch.uint8)
    assert count_quantized(quantization, config.lora) == quantized > 0


def test_nothing_is_counted_for_a_model_that_is_not_here():
    assert count_parameters(ModelConfig(name="nobody/nothing"), LoraConfig()) is None
    assert count_quantized(ModelConfig(name="nobody/nothing"), LoraConfig()) is None


def test_counting_needs_no_torch():
    code = (
        "import sys; from finetune30.config import LoraConfig, ModelConfig; "
        "from finetune30.modeling.sizes import count_parameters; "
        "found = count_parameters(ModelConfig(name='starter'), LoraConfig(r=4, target_modules='auto')); "
        "print(found and found[1], 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=600)
    assert done.stdout.split() in (["37634", "False"], ["None", "False"])
