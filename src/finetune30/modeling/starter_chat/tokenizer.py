"""The tokenizer of the starter chat model as transformers reads it, from the vocabulary that its GGUF file holds."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from finetune30.files import encode_json

#: `tokenizer.ggml.token_type` of special tokens.
_CONTROL = 3
_KEYS = "tokenizer.ggml."


def describe_tokenizer(fields: Mapping[str, Any], longest: int) -> dict[str, bytes]:
    """Return the tokenizer's files by name, from the fields of a GGUF file; `longest` is the model's context."""
    tokens: list[str] = fields[f"{_KEYS}tokens"]

    def token(name: str) -> str:
        number: int = fields[f"{_KEYS}{name}_token_id"]
        return tokens[number]

    kinds: list[int] = fields[f"{_KEYS}token_type"]
    special = {number: tokens[number] for number, kind in enumerate(kinds) if kind == _CONTROL}
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",  # which takes tokenizer.json as it is
        "model_max_length": longest,
        "bos_token": token("bos"),
        "eos_token": token("eos"),
        "pad_token": token("padding"),
        "unk_token": token("unknown"),
        "clean_up_tokenization_spaces": False,
        "add_prefix_space": False,
    }
    whole = _tokenizer(tokens, fields[f"{_KEYS}merges"], special)
    return {
        # Without indentation: half of the file would be spaces.
        "tokenizer.json": (json.dumps(whole, ensure_ascii=False) + "\n").encode(),
        "tokenizer_config.json": encode_json(settings),
        "chat_template.jinja": fields["tokenizer.chat_template"].encode(),
    }


def _tokenizer(tokens: list[str], merges: list[str], special: Mapping[int, str]) -> dict[str, Any]:
    """Return tokenizer.json: byte-level BPE whose texts are cut like SmolLM2's, every digit apart.

    GGUF names that cut only (`tokenizer.ggml.pre` is smollm). A digit is whatever Unicode counts as numeric, so that
    `½`, `²`, `Ⅷ` and `①` stand alone too.
    """
    bytewise = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    added = [
        {
            "id": number,
            "content": content,
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
            "special": True,
        }
        for number, content in special.items()
    ]
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": None,
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [{"type": "Digits", "individual_digits": True}, bytewise],
        },
        "post_processor": None,
        "decoder": bytewise,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": {content: number for number, content in enumerate(tokens)},
            "merges": [merge.split(" ") for merge in merges],
        },
    }
