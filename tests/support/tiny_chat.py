"""A tiny chat model in a package like the starter's: a Llama in Q4_1 and Q8_0, made in no time, so that tests can kill.

Its layout is that of the true file; its weights are random, its vocabulary is single bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from gguf import GGUFWriter

WIDTH, HEADS, KEY_HEADS, LAYERS, INNER = 64, 2, 1, 2, 96
TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")


@dataclass(frozen=True)
class TinyChat:
    """The package's parent folder, its GGUF file, and the tensors that were quantised, by their names there."""

    path: Path
    gguf: Path
    tensors: Mapping[str, NDArray[np.float32]]


def build_tiny_chat(folder: Path, package: str, file: str) -> TinyChat:
    """Write the package `package` with the GGUF file `file` below a folder."""
    from gguf import GGMLQuantizationType, GGUFWriter, quants

    home = folder / package
    home.mkdir(parents=True)
    (home / "__init__.py").write_text("raise ImportError('the package is found, never imported')\n")
    tensors = _tensors()
    writer = GGUFWriter(home / file, "llama")
    writer.add_license("apache-2.0")
    writer.add_block_count(LAYERS)
    writer.add_context_length(128)
    writer.add_embedding_length(WIDTH)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KEY_HEADS)
    writer.add_rope_freq_base(100_000.0)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(_vocabulary_size())
    _add_tokenizer(writer)
    for name, values in tensors.items():
        if values.ndim == 1:
            writer.add_tensor(name, values)
            continue
        kind = GGMLQuantizationType.Q8_0 if name.startswith("token_embd") else GGMLQuantizationType.Q4_1
        writer.add_tensor(name, quants.quantize(values, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return TinyChat(folder, home / file, tensors)


def _byte_letters() -> list[str]:
    from tokenizers.pre_tokenizers import ByteLevel

    return sorted(ByteLevel.alphabet())


def _vocabulary_size() -> int:
    return len(TOKENS) + len(_byte_letters())


def _add_tokenizer(writer: GGUFWriter) -> None:
    letters = _byte_letters()
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list([*TOKENS, *letters])
    writer.add_token_types([3] * len(TOKENS) + [1] * len(letters))
    writer.add_token_merges(["Ġ a", "b c"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_pad_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_chat_template("{% for message in messages %}{{ message['content'] }}{% endfor %}")


def _tensors() -> dict[str, NDArray[np.float32]]:
    draw = np.random.default_rng(0)

    def some(*shape: int) -> NDArray[np.float32]:
        return draw.normal(0, 0.1, shape).astype(np.float32)

    size = WIDTH // HEADS * KEY_HEADS
    found = {"token_embd.weight": some(_vocabulary_size(), WIDTH), "output_norm.weight": some(WIDTH)}
    for layer in range(LAYERS):
        of_layer = {
            "attn_norm": some(WIDTH),
            "attn_q": some(WIDTH, WIDTH),
            "attn_k": some(size, WIDTH),
            "attn_v": some(size, WIDTH),
            "attn_output": some(WIDTH, WIDTH),
            "ffn_norm": some(WIDTH),
            "ffn_gate": some(INNER, WIDTH),
            "ffn_up": some(INNER, WIDTH),
            "ffn_down": some(WIDTH, INNER),
        }
        found |= {f"blk.{layer}.{name}.weight": values for name, values in of_layer.items()}
    return found
