"""A language model of transformers, with or without an adapter, as `NextTokens`."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch

from finetune30.modeling.conversations.generation import NextTokens, ReadRows

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel


class TransformersNextTokens(NextTokens):
    """See `NextTokens`; `pad` fills rows up, which nobody sees."""

    def __init__(self, model: PreTrainedModel | PeftModel, pad: int) -> None:
        known: Any = model
        base: Any = known.get_base_model() if hasattr(known, "get_base_model") else known
        self.model, self._base, self._pad = known, base, pad
        # Some families tell places by their distance alone.
        self._taken = frozenset(inspect.signature(base.forward).parameters)

    @property
    def positions(self) -> int | None:
        """See `NextTokens.positions`."""
        limit = getattr(self.model.config.get_text_config(), "max_position_embeddings", None)
        return limit if isinstance(limit, int) and limit > 0 else None

    @property
    def end_tokens(self) -> frozenset[int]:
        """See `NextTokens.end_tokens`."""
        named: Any = getattr(getattr(self._base, "generation_config", None), "eos_token_id", None)
        several = named if isinstance(named, list) else [named]
        return frozenset(int(token) for token in several if token is not None)

    def begin(self, count: int) -> ReadRows:
        """See `NextTokens.begin`."""
        return _PaddedRows(self.model, count, self._pad, self._taken, reads_on=self._reads_on())

    def _reads_on(self) -> bool:
        """Tell whether the model keeps keys and values of all it reads, and nothing else: a state has to be fed token
        by token.
        """
        from transformers import DynamicCache
        from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

        if "past_key_values" not in self._taken or getattr(self._base, "_is_stateful", False):
            return False
        layers = DynamicCache(config=self._base.config).layers
        return all(type(layer) in (DynamicLayer, DynamicSlidingWindowLayer) for layer in layers)


class _PaddedRows(ReadRows):
    """See `ReadRows`; filled up before their first tokens, so that all end at the same place."""

    def __init__(self, model: Any, count: int, pad: int, taken: frozenset[str], *, reads_on: bool) -> None:
        self._model, self._count, self._pad, self._taken = model, count, pad, taken
        self._reads_on = reads_on
        self._mask: torch.Tensor = torch.empty(count, 0, dtype=torch.long, device=model.device)
        self._cache: Any = None

    @property
    def reads_on(self) -> bool:
        """See `ReadRows.reads_on`."""
        return self._reads_on

    def read(self, tokens: Mapping[int, Sequence[int]]) -> torch.Tensor:
        """See `ReadRows.read`; a row that goes on no more gets a token that nobody asks about."""
        width = max(len(new) for new in tokens.values())
        missing = [width - len(tokens.get(row, ())) for row in range(self._count)]
        ids = torch.tensor(
            [[self._pad] * filled + list(tokens.get(row, ())) for row, filled in enumerate(missing)],
            device=self._mask.device,
        )
        inside = torch.tensor([[0] * filled + [1] * (width - filled) for filled in missing], device=self._mask.device)
        self._mask = torch.cat([self._mask, inside], dim=1)
        further = {
            "position_ids": (self._mask.cumsum(dim=1) - 1).clamp(min=0)[:, -width:],
            "logits_to_keep": 1,
        }
        answer = self._model(
            input_ids=ids,
            attention_mask=self._mask,
            past_key_values=self._cache,
            use_cache=True,
            **{name: value for name, value in further.items() if name in self._taken},
        )
        self._cache = answer.past_key_values
        logits: torch.Tensor = answer.logits[list(tokens), -1].float()
        return logits
