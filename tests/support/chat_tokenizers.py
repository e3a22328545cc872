"""Tiny tokenizers that cut texts as families of models do, trained here on a few sentences."""

from __future__ import annotations

import json
from typing import Any

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from support.chat_models import CHATML, WORDS

_MARKS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|NUMBERS| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def build_cutting_tokenizer(family: str, template: str = CHATML) -> Any:
    """Return a tokenizer as of llama3, qwen2 (bytes, cut by a pattern), llama2 or mistral (characters)."""
    tokenizer = {"llama3": _as_llama_3, "qwen2": _as_qwen, "llama2": _as_llama_2, "mistral": _as_mistral}[family]()
    made = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<|im_end|>", pad_token="<|im_end|>", bos_token="<|im_start|>"
    )
    made.chat_template = template
    return made


def _as_llama_3() -> Tokenizer:
    return _over_bytes(r"\p{N}{1,3}", takes_whole=True)


def _as_qwen() -> Tokenizer:
    tokenizer = _over_bytes(r"\p{N}", takes_whole=False)
    tokenizer.normalizer = normalizers.NFC()
    return tokenizer


def _over_bytes(numbers: str, *, takes_whole: bool) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE(ignore_merges=takes_whole))
    cut = pre_tokenizers.Split(Regex(_PATTERN.replace("NUMBERS", numbers)), "isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [cut, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    _train(tokenizer, _MARKS, pre_tokenizers.ByteLevel.alphabet())
    return tokenizer


def _as_llama_2() -> Tokenizer:
    tokenizer = _over_characters()
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    return tokenizer


def _as_mistral() -> Tokenizer:
    tokenizer = _over_characters()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always", split=False)
    return tokenizer


def _over_characters() -> Tokenizer:
    """Return one without a way to spaces: what has no token falls back to its bytes, which are plain tokens."""
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(split=True)  # no word grows beyond a space while it learns
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    letters = list("▁abcdefghijklmnopqrstuvwxyz")
    _train(tokenizer, [*_MARKS, "<unk>", *(f"<0x{number:02X}>" for number in range(256))], letters)
    described = json.loads(tokenizer.to_str())
    described["pre_tokenizer"] = None
    described["added_tokens"] = [one for one in described["added_tokens"] if not one["content"].startswith("<0x")]
    return Tokenizer.from_str(json.dumps(described))


def _train(tokenizer: Tokenizer, special: list[str], alphabet: list[str]) -> None:
    trainer = trainers.BpeTrainer(
        vocab_size=420, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(WORDS * 5, trainer)
