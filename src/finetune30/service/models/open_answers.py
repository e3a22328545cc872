"""Answers of one language model that are in work, each a token at a time, so that several take turns on it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import count
from typing import TYPE_CHECKING, Any

from finetune30.errors import DataError
from finetune30.service.models.chat import require_chat_model
from finetune30.values import is_text

if TYPE_CHECKING:
    from finetune30.modeling.conversations.generation import Ended
    from finetune30.service.models.predict import LoadedModel

Tree = dict[str, Any]


class OpenAnswers:
    """Raises ConflictError for a model that holds no conversations."""

    def __init__(self, loaded: LoadedModel, run_name: str) -> None:
        self._model = require_chat_model(loaded, run_name, "ask it with POST /experiments/{id}/predict")
        self._numbers = count(1)
        self._open: dict[int, Iterator[str | Ended | None]] = {}

    def begin(self, asked: Mapping[str, Any]) -> Tree:
        """Begin an answer to `messages`, with `sampling` (see `Sampling`), `base` without the adapter.

        Returns its number, `answer`, and how many tokens ask for it. Raises DataError for messages that the template
        does not take, that are no text, or that leave the model no place for an answer.
        """
        from finetune30.modeling.conversations.generation import Sampling

        for place, message in enumerate(asked["messages"], start=1):
            if not is_text(message["content"]):
                raise DataError(f"message {place} holds what is no text: half of a character", "give it as UTF-8")
        prompt = self._model.ask(asked["messages"])
        limit = self._model.positions
        if limit is not None and len(prompt) >= limit:
            raise DataError(
                f"the conversation has {len(prompt):,} tokens, and the model reads {limit:,} with its answer",
                "leave out the oldest turns, or begin anew",
            )
        number = next(self._numbers)
        self._open[number] = self._model.stream(prompt, Sampling(**asked["sampling"]), base=asked["base"])
        return {"answer": number, "prompt_tokens": len(prompt)}

    def step(self, number: int) -> Tree:
        """Return the next `text` of an answer ("" as its prompt is read), at its end `finish_reason` and `tokens`."""
        piece = next(self._open[number])
        if piece is None or isinstance(piece, str):
            return {"text": piece or ""}
        del self._open[number]
        return {"finish_reason": piece.reason, "tokens": piece.tokens}

    def leave(self, number: int) -> Tree:
        """Give an answer up that nobody waits for."""
        self._open.pop(number, None)
        return {}
