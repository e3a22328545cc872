"""A transformers tokenizer behind the data room's TextEncoder; what is asked of every token before a model gets it."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from finetune30.data.encoding import EncodedTexts
from finetune30.errors import ModelError
from finetune30.modeling.special_tokens import count_texts_with, marks_taken_for_tokens, read_marks_as_text

if TYPE_CHECKING:
    from tokenizers import Encoding
    from torch import Tensor
    from transformers import BatchEncoding, PreTrainedTokenizerBase


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


def count_own_tokens(encoded: Sequence[Encoding], frame: int, is_pair: bool) -> list[int]:
    """Return how many tokens of each encoded row come from its text, of a pair from the text that gives less.

    `frame` is the number of special tokens that the tokenizer adds to each. The rows must not be truncated.
    """
    if not is_pair:
        return [len(row) - frame for row in encoded]
    return [min(row.sequence_ids.count(side) for side in (0, 1)) for row in encoded]


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
    `marks_are_text`: whether special tokens in texts are text, as everywhere but in models of earlier versions.
    Safe to use from several threads.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        *,
        uses_token_types: bool,
        known_tokens: int | None = None,
        marks_are_text: bool = True,
    ) -> None:
        self._tokenizer, self._marks_are_text = tokenizer, marks_are_text
        # Whether it cuts is a state of the tokenizer: another thread's call would cut what is counted here whole.
        self._lock = threading.Lock()
        self._marks: tuple[str, ...] = ()
        if marks_are_text:
            self._tokenizer, self._marks = _with_marks_as_text(tokenizer)
        self._uses_token_types, self._known_tokens = uses_token_types, known_tokens
        boundaries = (tokenizer.bos_token, tokenizer.eos_token, tokenizer.cls_token, tokenizer.sep_token)
        unknown = choose_unknown(tokenizer.unk_token, boundaries)
        self._unknown_id = None if unknown is None else tokenizer.unk_token_id

    def encode(self, texts: list[str], pairs: list[str] | None, max_length: int) -> EncodedTexts:
        """Encode texts (or pairs), cutting the longest text first, to at most `max_length` tokens."""
        with self._lock:
            return self._encode(texts, pairs, max_length)

    def _encode(self, texts: list[str], pairs: list[str] | None, max_length: int) -> EncodedTexts:
        full = self._call(texts, pairs, None)
        ids, types = full["input_ids"], full.get("token_type_ids")
        lengths = [len(row) for row in ids]
        own = self._count_own_tokens(full, texts, pairs)
        long = [i for i, length in enumerate(lengths) if length > max_length]
        if long:
            # Cutting is the tokenizer's work (special tokens stay, pairs are balanced), so long rows go there again.
            cut = self._call([texts[i] for i in long], [pairs[i] for i in long] if pairs else None, max_length)
            for position, i in enumerate(long):
                ids[i] = cut["input_ids"][position]
                if types is not None:
                    types[i] = cut["token_type_ids"][position]
        require_known_tokens(ids, self._known_tokens, self._tokenizer.convert_ids_to_tokens)
        marked = count_texts_with(self._marks, (*texts, *(pairs or ())))
        return EncodedTexts(ids, types, lengths, count_unknown(ids, self._unknown_id), own, marked)

    def _count_own_tokens(self, full: BatchEncoding, texts: list[str], pairs: list[str] | None) -> list[int]:
        if full.encodings is not None:
            frame = self._tokenizer.num_special_tokens_to_add(pair=pairs is not None)
            return count_own_tokens(full.encodings, frame, pairs is not None)
        sides = [texts] if pairs is None else [texts, pairs]  # tokenizers in Python do not say what came from where
        bare = [
            self._tokenizer(side, add_special_tokens=False, split_special_tokens=self._marks_are_text) for side in sides
        ]
        return [min(map(len, row)) for row in zip(*(side["input_ids"] for side in bare), strict=True)]

    def _call(self, texts: list[str], pairs: list[str] | None, max_length: int | None) -> BatchEncoding:
        encoded: BatchEncoding = self._tokenizer(
            texts,
            pairs,
            truncation=max_length is not None,
            max_length=max_length,
            return_attention_mask=False,
            return_token_type_ids=self._uses_token_types,
            split_special_tokens=self._marks_are_text,
            verbose=False,
        )
        return encoded


def _with_marks_as_text(tokenizer: PreTrainedTokenizerBase) -> tuple[PreTrainedTokenizerBase, tuple[str, ...]]:
    """Return a tokenizer that reads special tokens in texts as text, and those that it cannot; the given one stays."""
    own = copy.deepcopy(tokenizer)
    backend = getattr(own, "backend_tokenizer", None)
    if backend is not None:
        return own, read_marks_as_text(backend)
    marks = dict(zip(own.all_special_tokens, own.all_special_ids, strict=True))

    def encode(text: str) -> list[int]:
        return list(own(text, add_special_tokens=False, split_special_tokens=True)["input_ids"])

    return own, marks_taken_for_tokens(marks, encode)
