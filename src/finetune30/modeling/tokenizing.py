"""A transformers tokenizer behind the data room's TextEncoder; what is asked of every token before a model gets it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from finetune30.data.encoding import EncodedTexts
from finetune30.errors import ModelError

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedTokenizerBase


def require_known_tokens(ids: Sequence[Sequence[int]], known: int | None, spell: Callable[[int], object]) -> None:
    """Refuse tokens that the model has no embedding for: ids must lie below `known` (None: no model is asked).

    Words added to a tokenizer are such tokens until the embeddings are resized. Raises ModelError with the token as
    `spell` gives it.
    """
    largest = max((max(row) for row in ids if row), default=-1)
    if known is None or largest < known:
        return
    raise ModelError(
        f"the tokenizer makes token {largest} of {spell(largest)!r}, but the model has embeddings for {known} tokens "
        f"(0 to {known - 1})",
        "give the model one for every token: model.resize_token_embeddings(len(tokenizer)), then save both with "
        "save_pretrained; or use the tokenizer that the model was trained with",
    )


def count_unknown(ids: Sequence[Sequence[int]], unknown_id: int | None) -> int:
    """Return how often the unknown token stands in rows of ids; 0 for a tokenizer that has none."""
    return 0 if unknown_id is None else sum(row.count(unknown_id) for row in ids)


def choose_unknown(name: str | None, boundaries: Iterable[str | None]) -> str | None:
    """Return the unknown token; None where it is a boundary of texts too.

    So byte-level tokenizers name one that they never make of text (GPT-2: `<|endoftext|>`).
    """
    return None if name in set(boundaries) else name


def pad_before(inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return right-padded inputs, all (B, L), with the padding before the texts, as `attention_mask` tells it."""
    order = inputs["attention_mask"].argsort(dim=1, stable=True)
    return {name: tensor.gather(1, order) for name, tensor in inputs.items()}


class TokenizerEncoder:
    """Encodes with special tokens; token types only for models that know them.

    `known_tokens`: how many tokens the model has embeddings for; one beyond is refused with ModelError.
    """

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, *, uses_token_types: bool, known_tokens: int | None = None
    ) -> None:
        self._tokenizer = tokenizer
        self._uses_token_types, self._known_tokens = uses_token_types, known_tokens
        boundaries = (tokenizer.bos_token, tokenizer.eos_token, tokenizer.cls_token, tokenizer.sep_token)
        unknown = choose_unknown(tokenizer.unk_token, boundaries)
        self._unknown_id = None if unknown is None else tokenizer.unk_token_id

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
        require_known_tokens(ids, self._known_tokens, self._tokenizer.convert_ids_to_tokens)
        return EncodedTexts(ids, types, lengths, count_unknown(ids, self._unknown_id))

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
