"""A transformers tokenizer behind the data room's TextEncoder."""

from __future__ import annotations

from typing import TYPE_CHECKING

from finetune30.data.encoding import EncodedTexts

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedTokenizerBase


def reads_token_types(config: PretrainedConfig) -> bool:
    """Return whether a model with this loaded configuration tells the texts of a pair apart by token types."""
    return (getattr(config, "type_vocab_size", 0) or 0) > 1


class TokenizerEncoder:
    """Encodes with special tokens; token types only for models that know them."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, *, uses_token_types: bool) -> None:
        self._tokenizer = tokenizer
        self._uses_token_types = uses_token_types

    def encode(self, texts: list[str], pairs: list[str] | None, max_length: int) -> EncodedTexts:
        """Encode texts (or pairs), cutting the longest text first, to at most `max_length` tokens."""
        full = self._call(texts, pairs, None)
        ids, types = full["input_ids"], full.get("token_type_ids")
        lengths = [len(row) for row in ids]
        long = [i for i, length in enumerate(lengths) if length > max_length]
        if long:
            # Cutting is the tokenizer's work (special tokens stay, pairs are balanced), so long rows go there again.
            cut = self._call([texts[i] for i in long], [pairs[i] for i in long] if pairs else None, max_length)
            for position, i in enumerate(long):
                ids[i] = cut["input_ids"][position]
                if types is not None:
                    types[i] = cut["token_type_ids"][position]
        return EncodedTexts(ids, types, lengths)

    def _call(self, texts: list[str], pairs: list[str] | None, max_length: int | None) -> dict[str, list[list[int]]]:
        encoded = self._tokenizer(
            texts,
            pairs,
            truncation=max_length is not None,
            max_length=max_length,
            return_attention_mask=False,
            return_token_type_ids=self._uses_token_types,
            verbose=False,
        )
        return dict(encoded)
