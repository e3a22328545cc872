"""Tiny chat models made here: a Llama of random weights, a byte-level tokenizer, and chat templates of every kind."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from finetune30.files import encode_json, sha256_of
from finetune30.modeling.model_files import WEIGHTS
from finetune30.modeling.starter_chat import conversion

#: As ChatML is written by many models: every message alike, with the end mark behind it.
CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
#: Puts in a system message of its own where there is none.
INJECTING = (
    "{% if messages[0]['role'] != 'system' %}{{ '<|im_start|>system\nBe kind<|im_end|>\n' }}{% endif %}" + CHATML
)
#: Knows no system message, and wants user and assistant in turn.
STRICT = (
    "{% for m in messages %}"
    "{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles must alternate') }}{% endif %}"
    "{{ '<|im_start|>' + m['role'] + '\n' + m['content'] | trim + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
#: Leaves a system message out without a word.
DEAF = (
    "{% for m in messages %}{% if m['role'] != 'system' %}"
    "{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}"
    "{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
#: Thinks unless told not to, and forgets the thoughts of earlier answers.
THINKING = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' }}"
    "{% if m['role'] == 'assistant' %}"
    "{% set said = m['content'].split('</think>')[-1].lstrip('\n') %}"
    "{% if loop.last %}"
    "{% if '</think>' in m['content'] %}{{ m['content'].split('</think>')[0] + '</think>\n\n' }}"
    "{% else %}{{ '<think>\n\n</think>\n\n' }}{% endif %}"
    "{% endif %}{{ said }}"
    "{% else %}{{ m['content'] }}{% endif %}{{ '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}"
    "{% if enable_thinking is defined and not enable_thinking %}{{ '<think>\n\n</think>\n\n' }}{% endif %}"
    "{% endif %}"
)
#: Writes no end mark behind an answer.
ENDLESS = (
    "{% for m in messages %}{{ m['role'] + ': ' + m['content'] + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}"
)
TEMPLATES = {
    "chatml": CHATML,
    "injecting": INJECTING,
    "strict": STRICT,
    "deaf": DEAF,
    "thinking": THINKING,
    "endless": ENDLESS,
}
WORDS = ("the shop opens at nine", "where is the shop", "user assistant system", "we sell tea and bread")


def build_tiny_tokenizer(template: str | None = CHATML) -> Any:
    """Return a byte-level BPE tokenizer of about 400 tokens with ChatML's marks; the end mark pads too."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(WORDS * 5, trainer)
    made = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<|im_end|>", pad_token="<|im_end|>", bos_token="<|im_start|>"
    )
    made.chat_template = template
    return made


def build_tiny_chat(
    folder: Path, template: str | None = CHATML, *, tied: bool = True, family: str = "llama", width: int = 32
) -> Path:
    """Write a tiny model of a family of decoders with tokenizer and template to a folder, and return it.

    bitsandbytes quantises blocks of 64 weights, and its fast kernels want rows of whole blocks: a width of 64.
    """
    import torch
    from transformers import AutoModelForCausalLM

    tokenizer = build_tiny_tokenizer(template)
    tokenizer.save_pretrained(str(folder))
    torch.manual_seed(0)
    shape = {"hidden_size": width, "intermediate_size": 2 * width} if width != 32 else {}
    config = tiny_config(family, len(tokenizer), tie_word_embeddings=tied, **shape)
    AutoModelForCausalLM.from_config(config).save_pretrained(str(folder))
    return folder


def tiny_config(family: str, vocab_size: int, **changes: Any) -> Any:
    """Return the configuration of a tiny decoder: two layers of width 32, windows of 8 where a family has windows."""
    from transformers import CONFIG_MAPPING

    made: Any = CONFIG_MAPPING[family]
    marks = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 2}
    wanted = {**_SHAPES, **_OTHER_SHAPES.get(family, {}), **changes}
    shape = {name: value for name, value in wanted.items() if value is not None}
    return made(vocab_size=vocab_size, **shape, **marks)


_SHAPES = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 2048,
}
#: What families have or call otherwise; None leaves a name out.
_OTHER_SHAPES: dict[str, dict[str, Any]] = {
    "gpt2": {"num_key_value_heads": None, "resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0},
    "mistral": {"sliding_window": 8},
    "qwen3": {"head_dim": 8},
    "gemma2": {"head_dim": 8, "sliding_window": 8},
    "gemma3_text": {"head_dim": 8, "sliding_window": 8},
    "gpt_neox": {"num_key_value_heads": None},
    "opt": {"num_key_value_heads": None, "intermediate_size": None, "ffn_dim": 64, "word_embed_proj_dim": 32},
    "bloom": {"num_key_value_heads": None, "intermediate_size": None, "max_position_embeddings": None},
    "falcon": {"num_key_value_heads": None, "intermediate_size": None},
    "lfm2": {"layer_types": ["conv", "full_attention"]},
    "mixtral": {"num_local_experts": 4},
}


def place_as_starter(model: Path, data_folder: Path) -> None:
    """Let a tiny chat model be what `starter-chat` names in a data folder, as if it had been converted there."""
    folder = data_folder / conversion._FOLDER
    shutil.copytree(model, folder)
    weights = folder / WEIGHTS
    os.utime(weights, (0, 0))  # older than origin.json: not read again
    files = {path.name: {"bytes": path.stat().st_size, "sha256": sha256_of(path)} for path in folder.iterdir()}
    files[WEIGHTS]["sha256"] = conversion.WEIGHTS_SHA256
    origin = {"conversion": conversion._CONVERSION, "gguf": {"sha256": conversion.GGUF_SHA256}, "files": files}
    (folder / conversion.ORIGIN).write_bytes(encode_json(origin))
    assert conversion.find_starter_chat_model(data_folder) is not None
