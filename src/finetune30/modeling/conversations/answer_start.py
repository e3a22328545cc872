"""Spaces that a template writes before an answer and does not ask with: the model says them, and nobody else does.

Were they left in an answer, they would stand twice where it is rendered again, in the next turn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from finetune30.modeling.conversations.encoder import ConversationEncoder
from finetune30.modeling.conversations.opening import find_between
from finetune30.modeling.conversations.template import TemplateRefusalError


@dataclass(frozen=True)
class AnswerStart:
    """How many spaces at most, and the tokens that end every prompt which asks for an answer."""

    spaces: int
    asking: tuple[int, ...]

    def cut(self, text: str, prompt: Sequence[int]) -> str:
        """Return an answer, or its beginning, without them; a text that is gone on with keeps all it is given."""
        if not self.spaces or tuple(prompt[-len(self.asking) :]) != self.asking:
            return text
        return text[min(self.spaces, len(text) - len(text.lstrip(" "))) :]


def find_start(encoder: ConversationEncoder) -> AnswerStart:
    """Return what answers of a model begin with by its template."""
    nothing = AnswerStart(0, ())
    if encoder.template is None:
        return nothing
    try:
        between = find_between(encoder.template.asking) or ""
        spaces = len(between) - len(between.lstrip(" "))
        first, second = (encoder.ask([{"role": "user", "content": text}]) for text in ("a", "b"))
    except TemplateRefusalError:
        return nothing
    pairs = zip(reversed(first), reversed(second), strict=False)
    shared = next((count for count, (a, b) in enumerate(pairs) if a != b), 0)
    return AnswerStart(spaces, tuple(first[-shared:])) if shared else nothing
