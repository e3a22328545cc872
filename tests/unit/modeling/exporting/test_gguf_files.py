"""What is written as GGUF, and what is refused because nobody saw llama.cpp read it alike."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from gguf import GGUFReader
from tokenizers import pre_tokenizers
from transformers import AutoModelForCausalLM, AutoTokenizer

from finetune30.errors import ModelError, SelfTestError
from finetune30.modeling.exporting.gguf_files import write_gguf
from finetune30.modeling.exporting.gguf_tokenizer import find_cut
from finetune30.modeling.exporting.needs import require_gguf_model
from finetune30.service.exports.modelfile import MODELFILE, write_modelfile
from support.chat_models import INJECTING, TEMPLATES, build_tiny_chat, build_tiny_tokenizer, tiny_config
from support.chat_tokenizers import build_cutting_tokenizer
from support.decoders import LLAMA3, build_tiny_decoder


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
        ("gemma2", {}, "models of type llama, mistral, qwen2, qwen3, and this one is of type 'gemma2'"),
        ("qwen2", {"rope_parameters": LLAMA3}, "type default, linear, yarn, and this model's are of type 'llama3'"),
        (
            "llama",
            {"rope_parameters": {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4}},
            "type 'dynamic'",
        ),
        ("llama", {"rope_parameters": {"rope_theta": 1e4, "partial_rotary_factor": 0.5}}, "turn a part of each"),
    ],
)
def test_models_that_llama_cpp_was_not_seen_to_read_alike_are_refused(family, changes, told):
    with pytest.raises(ModelError, match=told):
        require_gguf_model(tiny_config(family, 100, **changes))


def test_a_window_is_the_longest_context(tmp_path):
    model, tokenizer = load(build_tiny_chat(tmp_path / "base", family="mistral"))
    write_gguf(model, tokenizer, tmp_path, "f16", [2], begins=False)
    assert GGUFReader(tmp_path / "model.gguf").fields["llama.context_length"].contents() == 8


def cut_as(kind: str | None, **changes: Any) -> dict[str, Any]:
    """Return the tree of a tokenizer; `changes` of the tree."""
    made = build_tiny_tokenizer() if kind is None else build_cutting_tokenizer(kind)
    return {**json.loads(made.backend_tokenizer.to_str()), **changes}


def test_cuts_are_called_what_llama_cpp_calls_them():
    assert find_cut(cut_as(None)) == "gpt-2"
    assert find_cut(cut_as("llama3")) == "llama-bpe"
    assert find_cut(cut_as("qwen2")) == "qwen2"


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        (None, {"pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "Whitespace"}]}}),
        (None, {"normalizer": {"type": "Lowercase"}}),
        ("llama3", {"pre_tokenizer": cut_as("qwen2")["pre_tokenizer"]}),  # takes pieces whole, which qwen2's does not
        ("qwen2", {"pre_tokenizer": cut_as("llama3")["pre_tokenizer"]}),
    ],
)
def test_cuts_without_a_name_are_refused(kind, changes):
    with pytest.raises(ModelError, match="no name for how this tokenizer cuts"):
        find_cut(cut_as(kind, **changes))


def test_a_space_before_a_text_but_not_behind_special_tokens_has_no_word(tmp_path):
    model = AutoModelForCausalLM.from_pretrained(build_tiny_decoder(tmp_path / "base", vocab_size=448))
    tokenizer = build_cutting_tokenizer("mistral")
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    with pytest.raises(ModelError, match="none behind a special token"):
        write_gguf(model, tokenizer, tmp_path, "f16", [2], begins=False)


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
