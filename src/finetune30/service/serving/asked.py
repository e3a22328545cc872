"""What a server asks of a loaded model, seen from where there is no torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from finetune30.data.questions import Asked


class Row(Protocol):
    """A text, or a pair, as a model reads it."""

    @property
    def ids(self) -> list[int]:
        """Its tokens, cut where it is too long."""
        ...

    @property
    def full_length(self) -> int:
        """Its tokens before it was cut."""
        ...

    @property
    def is_empty(self) -> bool:
        """Whether it gives the model nothing to read: such a row is not asked."""
        ...


class Answer(Protocol):
    """What a model answers to one text."""

    @property
    def tree(self) -> dict[str, Any]:
        """Its JSON values."""
        ...


class Ended(Protocol):
    """How an answer of a language model ended."""

    @property
    def reason(self) -> str:
        """`stop`, `length` or `positions`."""
        ...

    @property
    def ids(self) -> tuple[int, ...]:
        """Its tokens, without the one that ended it."""
        ...


class TextModel(Protocol):
    """A model with a head; asked and read with by any threads at the same time."""

    @property
    def pads(self) -> bool:
        """Whether rows that are asked together are filled up to the longest."""
        ...

    @property
    def max_length(self) -> int:
        """The most tokens of one text."""
        ...

    @property
    def asked(self) -> Asked:
        """Which texts a question has."""
        ...

    def read(self, texts: list[str], pairs: list[str] | None) -> Sequence[Any]:
        """Return each text (or pair) as a `Row`."""
        ...

    def logits(self, rows: Sequence[Any]) -> NDArray[np.float32]:
        """Return the logits of rows that are asked together, float32 (n, outputs)."""
        ...

    def answers(self, logits: NDArray[np.float32]) -> Sequence[Answer]:
        """Return the answers that logits are."""
        ...


class TalkingModel(Protocol):
    """A language model, asked by one thread at a time."""

    @property
    def positions(self) -> int | None:
        """How many tokens it reads at most, None where nothing says so."""
        ...

    @property
    def holds_conversations(self) -> bool:
        """Whether it has a chat template."""
        ...

    def ask(self, messages: Sequence[Mapping[str, Any]]) -> list[int]:
        """Return the tokens that ask for an answer. Raises DataError where the template does not take the messages."""
        ...

    def ask_text(self, text: str) -> list[int]:
        """Return the tokens of a text that is to be gone on with."""
        ...

    def stream(
        self, prompt: Sequence[int], sampling: Mapping[str, Any], ids: list[int]
    ) -> Iterator[str | Ended | None]:
        """Yield the answer, a text for every token, and how it ended as the last thing; `sampling` as `Sampling`.

        None stands for a piece of a long prompt that was read.

        `ids`: where the tokens are put, each before its text.
        """
        ...
