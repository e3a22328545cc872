"""A tokenizer in GGUF's words: how texts are cut, tokens and merges or scores, special tokens, chat template.

llama.cpp knows how texts are cut before pieces are merged by names of its own, and has its own code for each; a
tokenizer of which it has none is refused. What it makes of the run's texts is compared before anything is published.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from finetune30.errors import ModelError
from finetune30.modeling.exporting.needs import INSTEAD_OF_GGUF

if TYPE_CHECKING:
    from gguf import GGUFWriter
    from transformers import PreTrainedTokenizerBase

_NORMAL, _UNKNOWN, _CONTROL, _USER_DEFINED, _UNUSED, _BYTE = 1, 2, 3, 4, 5, 6
_SPACE = "\N{LOWER ONE EIGHTH BLOCK}"
_WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+"
_REST = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
#: How a byte-level tokenizer cuts texts before it merges, by kinds of cuts or patterns -> the name that llama.cpp has.
_CUTS: dict[tuple[str, ...], str] = {
    ("ByteLevel",): "gpt-2",
    ("Digits", "ByteLevel"): "smollm",
    (rf"{_WORDS}|\p{{N}}{{1,3}}|{_REST}", "bytes"): "llama-bpe",
    (rf"{_WORDS}|\p{{N}}|{_REST}", "bytes"): "qwen2",
}
#: Of these llama.cpp takes a piece that is a token as it is, without merging.
_WHOLE_PIECES = ("llama-bpe",)


def add_tokenizer(
    writer: GGUFWriter, tokenizer: PreTrainedTokenizerBase, rows: int, ends: Sequence[int], *, begins: bool
) -> None:
    """Add a tokenizer for `rows` embeddings; arguments as of `write_gguf`. Raises ModelError."""
    described = json.loads(tokenizer.backend_tokenizer.to_str())
    model = described["model"]
    tokens = [f"[UNUSED{number}]" for number in range(rows)]
    kinds = [_UNUSED] * rows
    for content, number in model["vocab"].items():
        tokens[number], kinds[number] = content, _NORMAL
    merges = [one if isinstance(one, str) else " ".join(one) for one in model["merges"]]
    if _merges_characters(described):
        writer.add_tokenizer_model("llama")
        writer.add_tokenizer_pre("default")
        writer.add_token_scores(_score(tokens, merges))
        writer.add_add_space_prefix(_adds_space(described))
        for number, token in enumerate(tokens):
            if kinds[number] == _NORMAL and len(token) == len("<0x00>") and token.startswith("<0x"):
                kinds[number] = _BYTE
    else:
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre(find_cut(described))
        writer.add_token_merges(merges)
    for added in described["added_tokens"]:
        tokens[added["id"]] = added["content"]
        kinds[added["id"]] = _CONTROL if added["special"] else _USER_DEFINED
    if (unknown := model["vocab"].get(model.get("unk_token"))) is not None:
        kinds[unknown] = _UNKNOWN
        writer.add_unk_token_id(unknown)
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    _add_special(writer, tokenizer, ends)
    writer.add_add_bos_token(begins)
    if tokenizer.chat_template:
        writer.add_chat_template(str(tokenizer.chat_template))


def find_cut(described: Mapping[str, Any]) -> str:
    """Return what llama.cpp calls the cuts of a byte-level tokenizer (the tree of its tokenizer.json).

    Raises ModelError for one without a name. Characters are composed (NFC) by some before they are cut, which
    llama.cpp leaves to whoever writes: texts that are not composed are read as other tokens.
    """
    cutting = described.get("pre_tokenizer") or {}
    parts = tuple(map(_name_part, cutting.get("pretokenizers", [cutting])))
    name = _CUTS.get(parts)
    composes = (described.get("normalizer") or {"type": "NFC"})["type"] == "NFC"
    takes_whole = bool(described["model"].get("ignore_merges"))
    if name is None or described["model"]["type"] != "BPE" or not composes or takes_whole != (name in _WHOLE_PIECES):
        raise ModelError(
            "llama.cpp has no name for how this tokenizer cuts texts; known are BPE over bytes as GPT-2, SmolLM, "
            "Llama 3 and Qwen cut, and over characters as Llama 2 and Mistral",
            INSTEAD_OF_GGUF,
        )
    return name


def _name_part(part: Mapping[str, Any]) -> str:
    """Return the kind of one cut, its pattern where it has one, or "" for what is unlike those of any name."""
    kind = str(part.get("type"))
    if kind == "Split" and part["behavior"] == "Isolated" and not part["invert"]:
        return str(part["pattern"].get("Regex", ""))
    if kind == "Digits" and part["individual_digits"]:
        return kind
    if kind == "ByteLevel" and not part["add_prefix_space"]:
        return kind if part["use_regex"] else "bytes"
    return ""


def _merges_characters(described: Mapping[str, Any]) -> bool:
    """Tell whether it is SentencePiece's BPE: spaces are a character, and what has no token is told by its bytes."""
    model = described["model"]
    return model["type"] == "BPE" and bool(model.get("byte_fallback")) and _finds_spaces(described)


def _finds_spaces(described: Mapping[str, Any]) -> bool:
    parts = _ways_to_spaces(described)
    replaces = {"type": "Replace", "pattern": {"String": " "}, "content": _SPACE} in parts
    keeps_whole = any(part["type"] == "Metaspace" and not part.get("split", True) for part in parts)
    return (replaces or keeps_whole) and {part["type"] for part in parts} <= {"Prepend", "Replace", "Metaspace"}


def _adds_space(described: Mapping[str, Any]) -> bool:
    """Tell whether a space is put before a text, and behind a special token. Raises ModelError where only before."""
    parts = _ways_to_spaces(described)
    schemes = [part.get("prepend_scheme", "never") for part in parts if part["type"] == "Metaspace"]
    if "first" in schemes:
        raise ModelError(
            "this tokenizer puts a space before a text but none behind a special token, which GGUF has no word for",
            INSTEAD_OF_GGUF,
        )
    return "always" in schemes or any(part["type"] == "Prepend" for part in parts)


def _ways_to_spaces(described: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return _flat(described.get("normalizer"), "normalizers") + _flat(described.get("pre_tokenizer"), "pretokenizers")


def _flat(part: Mapping[str, Any] | None, several: str) -> list[Mapping[str, Any]]:
    return [] if part is None else list(part.get(several, [part]))


def _score(tokens: Sequence[str], merges: Sequence[str]) -> list[float]:
    """Return a score for each token: the earlier a merge that makes it, the higher."""
    ranks: dict[str, int] = {}
    for rank, merge in enumerate(merges):
        ranks.setdefault(merge.replace(" ", ""), rank)
    return [-float(ranks.get(token, 0)) for token in tokens]


def _add_special(writer: GGUFWriter, tokenizer: Any, ends: Sequence[int]) -> None:
    if tokenizer.bos_token_id is not None:
        writer.add_bos_token_id(tokenizer.bos_token_id)
    end = tokenizer.eos_token_id if tokenizer.eos_token_id in ends else ends[0]
    writer.add_eos_token_id(end)
    others = [one for one in ends if one != end]
    for add, other in zip((writer.add_eot_token_id, writer.add_eom_token_id), others, strict=False):
        add(other)
    if tokenizer.pad_token_id is not None:
        writer.add_pad_token_id(tokenizer.pad_token_id)
