"""A conversation as the page keeps it: turns, each with the reply of every side that was asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

Json = dict[str, Any]


class Side(NamedTuple):
    """Who is asked: the model of a run, or the base model below it."""

    run_id: str
    is_base: bool = False


@dataclass
class Reply:
    """What a side said so far; `reason` is None until it ended, `error` what the API refused."""

    text: str = ""
    reason: str | None = None
    error: Json | None = None

    def take(self, piece: Json) -> None:
        """Take a piece of an answer, or the whole one at its end."""
        if "answer" in piece:
            self.text, self.reason = str(piece["answer"]), str(piece["finish_reason"])
        else:
            self.text += str(piece.get("text", ""))


@dataclass
class Turn:
    """A question, and what each side replied."""

    asked: str
    replies: dict[Side, Reply]


@dataclass
class Conversation:
    """All turns with the same sides, oldest first."""

    turns: list[Turn] = field(default_factory=list)

    def ask(self, text: str, sides: Sequence[Side]) -> Turn:
        """Begin a turn whose replies are still to come."""
        self.turns.append(Turn(text, {side: Reply() for side in sides}))
        return self.turns[-1]

    def messages(self, side: Side) -> list[Json]:
        """Return what a side is sent for the last turn: its own replies only, without turns that it refused."""
        messages: list[Json] = []
        for turn in self.turns[:-1]:
            reply = turn.replies[side]
            if reply.error is None:
                messages.append({"role": "user", "content": turn.asked})
                messages.append({"role": "assistant", "content": reply.text})
        return [*messages, {"role": "user", "content": self.turns[-1].asked}]
