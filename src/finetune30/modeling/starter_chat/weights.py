"""The weights of the starter chat model: what its GGUF file stores in blocks of 4 and 8 bits, written out in float32.

float32, because no shorter type holds a Q4_1 value whole: bfloat16 would move logits by up to 0.28, float16 by 0.04.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from finetune30 import failpoints

if TYPE_CHECKING:
    from gguf import ReaderTensor

#: What transformers calls the tensors of a GGUF file with a Llama, those of each layer by the part behind its number.
_OUTSIDE = {"token_embd": "model.embed_tokens", "output_norm": "model.norm"}
_IN_LAYERS = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
#: The tensors whose rows GGUF has in another order, and where it says how many heads they make.
_HEADS_OF = {"attn_q": "llama.attention.head_count", "attn_k": "llama.attention.head_count_kv"}
_FLOAT32_BYTES = 4


def describe_model(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return config.json of the Llama in a GGUF file."""
    heads, width = fields["llama.attention.head_count"], fields["llama.embedding_length"]
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": fields["llama.vocab_size"],
        "hidden_size": width,
        "intermediate_size": fields["llama.feed_forward_length"],
        "num_hidden_layers": fields["llama.block_count"],
        "num_attention_heads": heads,
        "num_key_value_heads": fields["llama.attention.head_count_kv"],
        "head_dim": width // heads,
        "hidden_act": "silu",
        "max_position_embeddings": fields["llama.context_length"],
        # GGUF has float32, and nobody meant 9.999999747378752e-06.
        "rms_norm_eps": float(f"{fields['llama.attention.layer_norm_rms_epsilon']:.6g}"),
        "rope_parameters": {"rope_type": "default", "rope_theta": fields["llama.rope.freq_base"]},
        "attention_bias": False,
        "mlp_bias": False,
        "attention_dropout": 0.0,
        "initializer_range": 0.02,
        "tie_word_embeddings": True,
        "use_cache": True,
        "dtype": "float32",
        **special_ids(fields),
    }


def special_ids(fields: Mapping[str, Any]) -> dict[str, int]:
    """Return the ids of the tokens at which texts begin, end and are padded."""
    return {
        "bos_token_id": fields["tokenizer.ggml.bos_token_id"],
        "eos_token_id": fields["tokenizer.ggml.eos_token_id"],
        "pad_token_id": fields["tokenizer.ggml.padding_token_id"],
    }


def write_weights(path: Path, tensors: Sequence[ReaderTensor], fields: Mapping[str, Any]) -> str:
    """Write all tensors as one safetensors file and return its sha256.

    One after the other, so that never more than the largest of them is in memory, and in an order and layout of our
    own, so that the same GGUF file gives the same bytes with every version of the safetensors library.
    """
    named = {_name_of(tensor.name): tensor for tensor in sorted(tensors, key=lambda tensor: _name_of(tensor.name))}
    shapes = {name: [int(size) for size in reversed(tensor.shape)] for name, tensor in named.items()}
    header = _header(shapes)
    digest = hashlib.sha256()
    with path.open("wb") as file:

        def write(content: bytes) -> None:
            file.write(content)
            digest.update(content)

        write(len(header).to_bytes(8, "little") + header)
        for number, (name, tensor) in enumerate(named.items()):
            if number == len(named) // 2:
                failpoints.reach("starter_chat.amid_weights")
            write(_whole(tensor, fields).reshape(shapes[name]).astype("<f4", copy=False).tobytes())
    return digest.hexdigest()


def _name_of(name: str) -> str:
    """Return what transformers calls a tensor of a GGUF file. Raises KeyError for one that a Llama does not have."""
    stem = name.removesuffix(".weight")
    if not stem.startswith("blk."):
        return f"{_OUTSIDE[stem]}.weight"
    _, layer, part = stem.split(".")
    return f"model.layers.{layer}.{_IN_LAYERS[part]}.weight"


def _header(shapes: Mapping[str, list[int]]) -> bytes:
    """Return the header of a safetensors file of float32 tensors, filled up to a multiple of eight bytes."""
    entries: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    place = 0
    for name, shape in shapes.items():
        end = place + int(np.prod(shape)) * _FLOAT32_BYTES
        entries[name] = {"dtype": "F32", "shape": shape, "data_offsets": [place, end]}
        place = end
    text = json.dumps(entries, separators=(",", ":")).encode()
    return text + b" " * (-len(text) % 8)


def _whole(tensor: ReaderTensor, fields: Mapping[str, Any]) -> NDArray[np.float32]:
    """Return a tensor's values, rows in the order of transformers.

    GGUF pairs the two dimensions that a rotation mixes, row by row; transformers has all first ones of a head before
    all second ones.
    """
    from gguf.quants import dequantize

    values = dequantize(tensor.data, tensor.tensor_type)
    key = _HEADS_OF.get(tensor.name.split(".")[-2])
    if key is None:
        return values
    heads = fields[key]
    rows, columns = values.shape
    return values.reshape(heads, rows // heads // 2, 2, columns).swapaxes(1, 2).reshape(rows, columns)
