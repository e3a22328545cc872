"""A tokenizer without transformers: reading tokenizer.json with `tokenizers` alone saves seconds at every start."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from finetune30.data.encoding import EncodedTexts
from finetune30.modeling.special_tokens import count_texts_with, read_marks_as_text
from finetune30.modeling.tokenizing import choose_unknown, count_own_tokens, count_unknown, require_known_tokens

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from finetune30.modeling.base import BaseSource

_WORDPIECE_CLASSES = ("BertTokenizer", "DistilBertTokenizer")
_SPECIAL_TOKENS = {
    "unk_token": "[UNK]",
    "sep_token": "[SEP]",
    "pad_token": "[PAD]",
    "cls_token": "[CLS]",
    "mask_token": "[MASK]",
}


class FileTokenizer:
    """The data room's TextEncoder over tokenizer files; the same ids and refusals as `TokenizerEncoder`."""

    def __init__(
        self,
        tokenizer: Tokenizer,
        *,
        uses_token_types: bool,
        known_tokens: int | None = None,
        unknown_token: str | None = None,
    ) -> None:
        self._tokenizer, self._uses_token_types, self._known_tokens = tokenizer, uses_token_types, known_tokens
        self._unknown_id = None if unknown_token is None else tokenizer.token_to_id(unknown_token)
        self._marks = read_marks_as_text(tokenizer)

    def encode(self, texts: list[str], pairs: list[str] | None, max_length: int) -> EncodedTexts:
        """Encode texts (or pairs), cutting the longest text first, to at most `max_length` tokens."""
        rows: list[Any] = texts if pairs is None else list(zip(texts, pairs, strict=True))
        self._tokenizer.no_truncation()
        encoded = self._tokenizer.encode_batch(rows)
        full_lengths = [len(row) for row in encoded]
        own = count_own_tokens(encoded, self._tokenizer.num_special_tokens_to_add(pairs is not None), pairs is not None)
        long = [i for i, length in enumerate(full_lengths) if length > max_length]
        if long:
            # Cutting is the tokenizer's work (special tokens stay, pairs are balanced), so long rows go there again.
            self._tokenizer.enable_truncation(max_length, strategy="longest_first")
            for i, row in zip(long, self._tokenizer.encode_batch([rows[i] for i in long]), strict=True):
                encoded[i] = row
        types = [row.type_ids for row in encoded] if self._uses_token_types else None
        ids = [row.ids for row in encoded]
        require_known_tokens(ids, self._known_tokens, self._tokenizer.id_to_token)
        marked = count_texts_with(self._marks, (*texts, *(pairs or ())))
        return EncodedTexts(ids, types, full_lengths, count_unknown(ids, self._unknown_id), own, marked)


def load_text_encoder(
    source: BaseSource, *, uses_token_types: bool, known_tokens: int | None = None
) -> FileTokenizer | None:
    """Read tokenizer.json, or vocab.txt of a BERT-like tokenizer; None when only transformers can read it."""
    from tokenizers import Tokenizer

    described = source.load_json("tokenizer_config.json") if (source.folder / "tokenizer_config.json").is_file() else {}
    kind = str(described.get("tokenizer_class", "")).removesuffix("Fast")
    path = source.folder / "tokenizer.json"
    if path.is_file():
        tokenizer = Tokenizer.from_file(str(path))
        if kind in _WORDPIECE_CLASSES:
            # As transformers does: for these classes tokenizer_config.json decides, not tokenizer.json.
            tokenizer.normalizer = _bert_normalizer(described)
            tokenizer.add_special_tokens(list(_special_tokens(described).values()))
    elif kind in _WORDPIECE_CLASSES and (source.folder / "vocab.txt").is_file():
        tokenizer = _wordpiece(source, described)
    else:
        return None
    tokenizer.no_padding()
    return FileTokenizer(
        tokenizer,
        uses_token_types=uses_token_types,
        known_tokens=known_tokens,
        unknown_token=_unknown_token(tokenizer, described),
    )


def _unknown_token(tokenizer: Tokenizer, described: dict[str, Any]) -> str | None:
    """Return what text without a token becomes, as the tokenizer's model or else its description names it."""
    named = getattr(tokenizer.model, "unk_token", None) or _content(described.get("unk_token"))
    boundaries = (_content(described.get(key)) for key in ("bos_token", "eos_token", "cls_token", "sep_token"))
    return choose_unknown(named, boundaries)


def _wordpiece(source: BaseSource, described: dict[str, Any]) -> Tokenizer:
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    tokens = (source.folder / "vocab.txt").read_text(encoding="utf-8").split("\n")
    vocabulary = {token: i for i, token in enumerate(tokens) if token or i < len(tokens) - 1}
    special = _special_tokens(described)
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token=special["unk_token"]))
    tokenizer.normalizer = _bert_normalizer(described)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    first, last = special["cls_token"], special["sep_token"]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{first}:0 $A:0 {last}:0",
        pair=f"{first}:0 $A:0 {last}:0 $B:1 {last}:1",
        special_tokens=[(first, vocabulary[first]), (last, vocabulary[last])],
    )
    tokenizer.add_special_tokens(list(special.values()))
    return tokenizer


def _bert_normalizer(described: dict[str, Any]) -> Any:
    from tokenizers import normalizers

    return normalizers.BertNormalizer(
        clean_text=True,
        handle_chinese_chars=described.get("tokenize_chinese_chars", True),
        strip_accents=described.get("strip_accents"),
        lowercase=described.get("do_lower_case", True),
    )


def _special_tokens(described: dict[str, Any]) -> dict[str, str]:
    """Return the special tokens; in tokenizer_config.json one is a string or an object with its content."""
    found = {key: described.get(key) or default for key, default in _SPECIAL_TOKENS.items()}
    return {key: str(_content(token)) for key, token in found.items()}


def _content(token: Any) -> Any:
    return token["content"] if isinstance(token, dict) else token
