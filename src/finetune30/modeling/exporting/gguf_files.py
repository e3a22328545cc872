"""A merged language model as GGUF, for llama.cpp and what is built on it: shape, weights, tokenizer, end tokens.

Written through the `gguf` package, the format's own. In models of the architecture `llama` llama.cpp turns neighbouring
numbers of a head, transformers its halves, so their rows of queries and keys are put into that order.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from finetune30.errors import SelfTestError
from finetune30.modeling.exporting.gguf_tokenizer import add_tokenizer
from finetune30.modeling.exporting.needs import GGUF_ARCHITECTURES, INSTEAD_OF_GGUF, require_gguf_model

if TYPE_CHECKING:
    from gguf import GGUFWriter
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

MODEL = "model.gguf"
_LARGEST_F16 = 65504.0
#: What transformers calls a tensor -> what GGUF does.
_OUTSIDE = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}
_IN_LAYERS = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


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
    require_gguf_model(config)
    writer = GGUFWriter(folder / MODEL, GGUF_ARCHITECTURES[config.model_type])
    _add_shape(writer, config, precision)
    add_tokenizer(writer, tokenizer, config.vocab_size, ends, begins=begins)
    _add_rotary_positions(writer, merged)
    for name, tensor in merged.state_dict().items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        values = tensor.detach().float().numpy()
        _add_tensor(writer, _name_tensor(name), _order_heads(name, values, config), precision)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _add_shape(writer: GGUFWriter, config: Any, precision: str) -> None:
    from gguf import GGML_QUANT_VERSION, LlamaFileType

    heads, width = config.num_attention_heads, config.hidden_size
    size = getattr(config, "head_dim", None) or width // heads
    writer.add_context_length(_find_context(config))
    writer.add_embedding_length(width)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(size)
    writer.add_value_length(size)
    writer.add_rope_dimension_count(size)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(config.vocab_size)
    writer.add_file_type(LlamaFileType.MOSTLY_F16 if precision == "f16" else LlamaFileType.MOSTLY_Q8_0)
    writer.add_quantization_version(GGML_QUANT_VERSION)


def _find_context(config: Any) -> int:
    """Return how many positions llama.cpp may attend to: it would look beyond a window as if there were none."""
    longest = int(config.max_position_embeddings)
    return min(longest, getattr(config, "sliding_window", None) or longest)


def _add_rotary_positions(writer: GGUFWriter, merged: Any) -> None:
    """Add base and scaling. Llama 3's scaling is a divisor of each speed, (size of a head / 2,), in a tensor."""
    from gguf import RopeScalingType

    rope = merged.config.rope_parameters
    kind, base = rope.get("rope_type", "default"), float(rope["rope_theta"])
    writer.add_rope_freq_base(base)
    if kind == "linear":
        writer.add_rope_scaling_type(RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(rope["factor"])
    elif kind == "yarn":
        writer.add_rope_scaling_type(RopeScalingType.YARN)
        writer.add_rope_scaling_factor(rope["factor"])
        writer.add_rope_scaling_orig_ctx_len(rope["original_max_position_embeddings"])
    elif kind == "llama3":
        speeds = merged.model.rotary_emb.inv_freq.double().numpy()
        plain = base ** (-np.arange(len(speeds)) / len(speeds))
        writer.add_tensor("rope_freqs.weight", (plain / speeds).astype(np.float32))


def _name_tensor(name: str) -> str:
    module, _, kind = name.rpartition(".")
    if module in _OUTSIDE:
        return f"{_OUTSIDE[module]}.{kind}"
    _, _, layer, part = module.split(".", 3)
    return f"blk.{layer}.{_IN_LAYERS[part]}.{kind}"


def _order_heads(name: str, values: NDArray[np.float32], config: Any) -> NDArray[np.float32]:
    """Return the rows of queries and keys with the two halves of every head interleaved, where llama.cpp wants that."""
    if GGUF_ARCHITECTURES[config.model_type] != "llama":
        return values
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
