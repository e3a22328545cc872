"""A merged Llama as GGUF, for llama.cpp and what is built on it: weights, tokenizer, chat template, end tokens.

Written through the `gguf` package, the format's own. llama.cpp rotates neighbouring numbers of a head, transformers
its halves, so the rows of queries and keys are put into that order. Only what was read by llama.cpp and found
equal is written: Llama with plain rotary positions, and byte-level BPE whose cuts llama.cpp knows by a name.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from finetune30.errors import ModelError, SelfTestError
from finetune30.modeling.exporting.needs import GGUF_ARCHITECTURE, INSTEAD_OF_GGUF, require_llama

if TYPE_CHECKING:
    from gguf import GGUFWriter
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

MODEL = "model.gguf"
_LARGEST_F16 = 65504.0
_NORMAL, _CONTROL, _USER_DEFINED, _UNUSED = 1, 3, 4, 5
#: What transformers calls a tensor -> what GGUF does.
_OUTSIDE = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}
_IN_LAYERS = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
#: How a byte-level tokenizer cuts texts before it merges -> the name that llama.cpp has for it.
_CUTS: dict[tuple[str, ...], str] = {("ByteLevel",): "gpt-2", ("Digits", "ByteLevel"): "smollm"}


def write_gguf(
    merged: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    folder: Path,
    precision: str,
    ends: Sequence[int],
    *,
    begins: bool,
) -> None:
    """Write model.gguf; `precision` (f16, q8_0) is that of matrices, vectors stay float32.

    `ends` are the tokens that end an answer; `begins`: whether texts begin with the tokenizer's first token. Raises
    ModelError for a model or a tokenizer that is not known to come out right, SelfTestError for weights beyond float16.
    """
    from gguf import GGUFWriter

    config: Any = merged.config
    require_llama(config)
    described = json.loads(tokenizer.backend_tokenizer.to_str())
    writer = GGUFWriter(folder / MODEL, GGUF_ARCHITECTURE)
    _add_shape(writer, config, precision)
    _add_tokenizer(writer, tokenizer, described, config.vocab_size, ends, begins=begins)
    for name, tensor in merged.state_dict().items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        values = tensor.detach().float().numpy()
        _add_tensor(writer, _name_tensor(name), _order_heads(name, values, config), precision)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def find_cut(described: Mapping[str, Any]) -> str:
    """Return what llama.cpp calls the cuts of a tokenizer (the tree of its tokenizer.json). Raises ModelError."""
    cutting = described.get("pre_tokenizer") or {}
    parts = cutting.get("pretokenizers", [cutting])
    name = _CUTS.get(tuple(str(part.get("type")) for part in parts))
    is_plain = all(
        (part["type"] == "Digits" and part["individual_digits"])
        or (part["type"] == "ByteLevel" and part["use_regex"] and not part["add_prefix_space"])
        for part in parts
        if part.get("type") in ("Digits", "ByteLevel")
    )
    if name is None or not is_plain or described["model"]["type"] != "BPE" or described.get("normalizer"):
        raise ModelError(
            "llama.cpp has no name for how this tokenizer cuts texts; known are byte-level BPE, and the same with "
            "every digit apart",
            INSTEAD_OF_GGUF,
        )
    return name


def _add_shape(writer: GGUFWriter, config: Any, precision: str) -> None:
    from gguf import GGML_QUANT_VERSION, LlamaFileType

    heads, width = config.num_attention_heads, config.hidden_size
    size = getattr(config, "head_dim", None) or width // heads
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(width)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(size)
    writer.add_value_length(size)
    writer.add_rope_dimension_count(size)
    writer.add_rope_freq_base(float(config.rope_parameters["rope_theta"]))
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(config.vocab_size)
    writer.add_file_type(LlamaFileType.MOSTLY_F16 if precision == "f16" else LlamaFileType.MOSTLY_Q8_0)
    writer.add_quantization_version(GGML_QUANT_VERSION)


def _add_tokenizer(
    writer: GGUFWriter,
    tokenizer: PreTrainedTokenizerBase,
    described: Mapping[str, Any],
    rows: int,
    ends: Sequence[int],
    *,
    begins: bool,
) -> None:
    cut = find_cut(described)
    tokens = [f"[UNUSED{number}]" for number in range(rows)]
    kinds = [_UNUSED] * rows
    for content, number in described["model"]["vocab"].items():
        tokens[number], kinds[number] = content, _NORMAL
    for added in described["added_tokens"]:
        tokens[added["id"]] = added["content"]
        kinds[added["id"]] = _CONTROL if added["special"] else _USER_DEFINED
    merges = [one if isinstance(one, str) else " ".join(one) for one in described["model"]["merges"]]
    own: Any = tokenizer
    end = own.eos_token_id if own.eos_token_id in ends else ends[0]
    others = [one for one in ends if one != end]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(cut)
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges(merges)
    if own.bos_token_id is not None:
        writer.add_bos_token_id(own.bos_token_id)
    writer.add_eos_token_id(end)
    for add, other in zip((writer.add_eot_token_id, writer.add_eom_token_id), others, strict=False):
        add(other)
    if own.pad_token_id is not None:
        writer.add_pad_token_id(own.pad_token_id)
    writer.add_add_bos_token(begins)
    if own.chat_template:
        writer.add_chat_template(own.chat_template)


def _name_tensor(name: str) -> str:
    module, _, kind = name.rpartition(".")
    if module in _OUTSIDE:
        return f"{_OUTSIDE[module]}.{kind}"
    _, _, layer, part = module.split(".", 3)
    return f"blk.{layer}.{_IN_LAYERS[part]}.{kind}"


def _order_heads(name: str, values: NDArray[np.float32], config: Any) -> NDArray[np.float32]:
    """Return the rows of queries and keys with the two halves of every head interleaved."""
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}.get(name.split(".")[-2])
    if heads is None:
        return values
    halves = values.reshape(heads, 2, values.shape[0] // heads // 2, *values.shape[1:])
    return np.ascontiguousarray(halves.swapaxes(1, 2).reshape(values.shape))


def _add_tensor(writer: GGUFWriter, name: str, values: NDArray[np.float32], precision: str) -> None:
    from gguf import GGMLQuantizationType, quants

    if values.ndim == 1:
        writer.add_tensor(name, values.astype(np.float32))
        return
    if precision == "q8_0" and values.shape[-1] % 32 == 0:
        kind = GGMLQuantizationType.Q8_0
        writer.add_tensor(name, quants.quantize(values, kind), raw_dtype=kind)
        return
    if (largest := float(np.abs(values).max(initial=0.0))) > _LARGEST_F16:
        raise SelfTestError(f"{name} holds {largest:.4g}, which float16 does not", INSTEAD_OF_GGUF)
    writer.add_tensor(name, values.astype(np.float16))
