"""Base models held in 4 and 8 bits: they learn, go on bit for bit, and the plain libraries load what is published."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch

from finetune30.config import ModelConfig
from finetune30.errors import DeviceError, ModelError
from finetune30.modeling import quantization
from finetune30.modeling.base import find_base, load_tokenizer
from finetune30.modeling.quantization import count_weights, require_quantization
from finetune30.modeling.quantization_settings import Quantization
from support.chat_models import build_tiny_chat
from support.engines import build_general, configure, random_batch
from support.language_engines import LanguageEngine, build_language_engine, logits_of
from support.quantized import needs_bitsandbytes

METHODS = ("nf4", "int8")


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return build_tiny_chat(tmp_path_factory.mktemp("chat"), width=64)


def built(base: Any, method: str | None, precision: str = "fp32", **lora: Any) -> LanguageEngine:
    return build_language_engine(base, model={"quantization": method}, precision=precision, lora=lora)


@needs_bitsandbytes
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_it_learns_and_an_evaluation_in_between_changes_nothing(base, method, precision):
    trained, other = (built(base, method, precision) for _ in range(2))
    quantized = {p.dtype for n, p in trained.engine._model.named_parameters() if n.endswith("base_layer.weight")}
    assert quantized == {torch.uint8 if method == "nf4" else torch.int8}
    assert trained.engine.total_parameters == built(base, None).engine.total_parameters
    first = trained.take_step()
    other.take_step()
    moved = trained.engine.adapter_state()
    assert all(float(moved[name].abs().max()) > 0 for name in moved if "lora_B" in name)
    trained.engine.outputs(trained.batch())
    assert trained.take_step() == other.take_step()
    assert trained.take_step() < first
    other.take_step()
    ours, theirs = trained.engine.adapter_state(), other.engine.adapter_state()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


@needs_bitsandbytes
@pytest.mark.parametrize("method", METHODS)
def test_states_restore_the_next_step_bit_for_bit(base, method):
    trained, other = (built(base, method, use_dora=method == "nf4") for _ in range(2))
    trained.take_step()
    other.engine.load_adapter_state(trained.engine.adapter_state())
    other.engine.load_optimizer_state(trained.engine.optimizer_state())
    assert trained.take_step() == other.take_step()
    ours, theirs = trained.engine.adapter_state(), other.engine.adapter_state()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


@needs_bitsandbytes
@pytest.mark.parametrize("method", METHODS)
def test_plain_peft_on_the_base_quantized_alike_answers_as_trained(base, method, tmp_path):
    from peft import AutoPeftModelForCausalLM
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    trained = built(base, method)
    for _ in range(3):
        trained.take_step()
    trained.engine.save_adapter(tmp_path)
    load_tokenizer(find_base(ModelConfig(name=str(base)))).save_pretrained(str(tmp_path))
    with trained.engine.lend() as lent:
        learnt = logits_of(lent.model, trained)
    settings: dict[str, Any] = Quantization(method, ("lm_head",)).settings("float32")
    quantized: dict[str, Any] = {"quantization_config": BitsAndBytesConfig(**settings), "device_map": {"": "cpu"}}
    loaded: Any = AutoPeftModelForCausalLM.from_pretrained(tmp_path, **quantized)
    # As in training: in evaluation, some CPUs would round the scales once more.
    quantization.use_one_arithmetic(loaded)
    torch.testing.assert_close(logits_of(loaded.eval(), trained), learnt, atol=1e-6, rtol=1e-6)
    plain: Any = AutoPeftModelForCausalLM.from_pretrained(tmp_path, **quantized)
    assert float((logits_of(plain.eval(), trained) - learnt).abs().max()) <= 0.03
    whole = logits_of(AutoModelForCausalLM.from_pretrained(base).eval(), trained)
    with trained.engine.lend_base() as lent:
        assert float((logits_of(lent.model, trained) - whole).abs().max()) > 0.001  # another base than the whole one


@needs_bitsandbytes
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("family", ["bert", "roberta", "llama", "gpt2"])
def test_classifiers_keep_their_heads_whole(tiny_model, method, family):
    plain = configure(tiny_model(family), lora={"r": 2, "target_modules": "all-linear"})
    config = plain.model_copy(update={"model": plain.model.model_copy(update={"quantization": method})})
    engine = build_general(config)
    trained = {p.dtype for p in engine._model.parameters() if p.requires_grad}
    assert trained == {torch.float32}
    names = [n for n, p in engine._model.named_parameters() if p.dtype in (torch.uint8, torch.int8)]
    assert len(names) >= 8
    assert not any(part in name for name in names for part in ("score", "classifier", "pooler", "embed"))
    batch = random_batch([9, 4, 12])
    losses = []
    for _ in range(8):
        losses.append(float(engine.accumulate(batch, 1 / 3)))
        engine.step(0.005)
    assert losses[-1] < losses[0]


@needs_bitsandbytes
def test_what_is_trained_whole_is_not_quantized(base):
    trained = built(base, "nf4", modules_to_save=["mlp"], target_modules=["q_proj"])
    quantized = [n for n, p in trained.engine._model.named_parameters() if p.dtype == torch.uint8]
    assert quantized
    assert not any("mlp" in name for name in quantized)
    trained.take_step()


@needs_bitsandbytes
def test_weights_are_counted_not_bytes(base):
    trained = built(base, "nf4")
    layer: Any = trained.engine._model.get_base_model().get_submodule("model.layers.0.mlp.up_proj.base_layer")
    assert layer.weight.numel() == 64 * 128 // 2
    assert count_weights(layer.weight) == 64 * 128


def test_a_missing_package_is_named_with_the_command_that_brings_it(monkeypatch):
    monkeypatch.setattr(quantization, "QUANTIZING_PACKAGE", "no-such-package-anywhere")
    with pytest.raises(ModelError, match="not installed") as refused:
        require_quantization("nf4", "cpu")
    assert refused.value.remedy == "install it with: pip install 'finetune30[quantization]'"
    require_quantization(None, "cpu")


@pytest.mark.parametrize("method", METHODS)
def test_apples_gpus_are_refused(method):
    with pytest.raises(DeviceError, match=f"{method} runs on CUDA and on CPUs"):
        require_quantization(method, "mps")


def test_what_was_quantized_is_written_as_values_that_come_back():
    wanted = Quantization("nf4", ("lm_head", "model.embed_tokens"))
    assert Quantization.restore(json.loads(json.dumps(wanted.describe()))) == wanted
    assert wanted.settings("bfloat16")["bnb_4bit_compute_dtype"] == "bfloat16"
