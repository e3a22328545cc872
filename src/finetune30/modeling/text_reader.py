"""How a saved model reads texts: cleaned, encoded and cut as those of its training were."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetune30.data.encoding import EncodedTexts, find_tokenless
from finetune30.modeling.model_facts import count_tokens_configured, reads_token_types
from finetune30.modeling.saved_targets import Reading, load_targets
from finetune30.modeling.saving import load_base_config
from finetune30.modeling.tokenizing import TokenizerEncoder

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class TextReader:
    """Makes token ids of texts (or pairs), as the folder of a saved model says; `max_length`: the most of one text."""

    def __init__(self, folder: Path, tokenizer: PreTrainedTokenizerBase) -> None:
        described = load_targets(folder)
        self.max_length: int = described["max_length"]
        self._recipe: list[dict[str, Any]] = described["recipe"]
        self._reading: Reading = described["reading"]
        config = load_base_config(folder)
        self._encoder = TokenizerEncoder(
            tokenizer,
            uses_token_types=reads_token_types(config),
            # PEFT gives a word that only the tokenizer knows an embedding that nothing has trained.
            known_tokens=count_tokens_configured(config),
            marks_are_text=self._reading.marks_are_text,
        )

    def encode(self, texts: list[str], pairs: list[str] | None = None) -> EncodedTexts:
        """Return token ids of texts (or pairs), cleaned and cut as in training."""
        return self._encoder.encode(*self.clean(texts, pairs), self.max_length)

    def find_tokenless(self, texts: list[str], pairs: list[str] | None = None) -> list[int]:
        """Return the positions of texts (or pairs) that say nothing to the model, as training leaves such rows out.

        They give no token of their own, or nothing in them can be seen. A model that learnt empty texts answers them.
        """
        return self.read(texts, pairs)[1]

    def read(self, texts: list[str], pairs: list[str] | None = None) -> tuple[EncodedTexts, list[int]]:
        """Return what `encode` gives and what `find_tokenless` finds, at the price of one of them."""
        texts, pairs = self.clean(texts, pairs)
        encoded = self._encoder.encode(texts, pairs, self.max_length)
        found = find_tokenless(encoded, texts, pairs)
        return encoded, [i for i in found if not (self._reading.allow_empty and encoded.ids[i])]

    def clean(self, texts: list[str], pairs: list[str] | None) -> tuple[list[str], list[str] | None]:
        """Return texts (and pairs) cleaned as those of the training were."""
        if not self._recipe:
            return texts, pairs
        from finetune30.data.cleaning import clean_texts

        return clean_texts(texts, self._recipe), clean_texts(pairs, self._recipe) if pairs else None
