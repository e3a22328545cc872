"""What is written as GGUF, and what is refused because nobody saw llama.cpp read it alike."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from gguf import GGUFReader
from transformers import AutoModelForCausalLM, AutoTokenizer

from finetune30.errors import ModelError, SelfTestError
from finetune30.modeling.exporting.gguf_files import find_cut, write_gguf
from finetune30.modeling.exporting.needs import require_llama
from finetune30.service.exports.modelfile import MODELFILE, write_modelfile
from support.chat_models import INJECTING, TEMPLATES, build_tiny_chat, build_tiny_tokenizer, tiny_config


def load(folder) -> tuple[Any, Any]:
    return AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)


def test_a_file_holds_tokenizer_template_and_end_tokens(tmp_path):
    model, tokenizer = load(build_tiny_chat(tmp_path / "base"))
    write_gguf(model, tokenizer, tmp_path, "f16", [2, 0], begins=False)
    fields = {name: field.contents() for name, field in GGUFReader(tmp_path / "model.gguf").fields.items()}
    assert fields["tokenizer.ggml.eos_token_id"] == 2
    assert fields["tokenizer.ggml.eot_token_id"] == 0
    assert fields["tokenizer.ggml.pre"] == "gpt-2"
    assert fields["tokenizer.ggml.add_bos_token"] is False
    assert fields["tokenizer.chat_template"] == tokenizer.chat_template
    assert fields["tokenizer.ggml.tokens"][:3] == ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    assert len(fields["tokenizer.ggml.tokens"]) == model.config.vocab_size


def test_weights_beyond_float16_are_refused(tmp_path):
    model, tokenizer = load(build_tiny_chat(tmp_path / "base"))
    model.model.layers[0].mlp.up_proj.weight.data[0, 0] = 1e6
    with pytest.raises(SelfTestError, match=r"ffn_up\.weight holds 1e\+06"):
        write_gguf(model, tokenizer, tmp_path, "f16", [2], begins=False)


@pytest.mark.parametrize(
    ("family", "changes", "told"),
    [
        ("qwen2", {}, "model type 'qwen2'"),
        ("llama", {"attention_bias": True}, "biases"),
        ("llama", {"rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 1e4}}, "rope type 'linear'"),
    ],
)
def test_models_that_llama_cpp_was_not_seen_to_read_alike_are_refused(family, changes, told):
    with pytest.raises(ModelError, match=told):
        require_llama(tiny_config(family, 100, **changes))


def test_cuts_without_a_name_are_refused():
    described = json.loads(build_tiny_tokenizer().backend_tokenizer.to_str())
    assert find_cut(described) == "gpt-2"
    described["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [{"type": "Whitespace"}]}
    with pytest.raises(ModelError, match="no name for how this tokenizer cuts"):
        find_cut(described)


@pytest.mark.parametrize("name", TEMPLATES)
def test_only_chatml_has_a_modelfile(tmp_path, name):
    tokenizer = build_tiny_tokenizer(TEMPLATES[name])
    assert write_modelfile(tokenizer, [2], tmp_path) == (name in ("chatml", "injecting"))
    if name == "injecting":
        assert TEMPLATES[name] == INJECTING
        text = (tmp_path / MODELFILE).read_text(encoding="utf-8")
        assert 'SYSTEM """Be kind"""\nPARAMETER stop "<|im_end|>"\n' in text


def test_eight_bits_are_near_what_they_round(tmp_path):
    model, tokenizer = load(build_tiny_chat(tmp_path / "base"))
    write_gguf(model, tokenizer, tmp_path, "q8_0", [2], begins=False)
    (found,) = [one for one in GGUFReader(tmp_path / "model.gguf").tensors if one.name == "blk.1.ffn_down.weight"]
    from gguf import quants

    whole = model.model.layers[1].mlp.down_proj.weight.detach().numpy()
    assert np.abs(quants.dequantize(found.data, found.tensor_type) - whole).max() < np.abs(whole).max() / 200
