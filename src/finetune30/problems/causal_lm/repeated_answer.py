"""Whether a saved model answers as the trained one did: the last part of the self-test."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from finetune30.errors import SelfTestError
from finetune30.modeling.conversations.generation import Generated, Sampling, generate
from finetune30.modeling.saving import self_test_error

if TYPE_CHECKING:
    from finetune30.modeling.conversations.chat_model import ChatModel


@dataclass(frozen=True)
class GivenAnswer:
    """An answer that the trained model gave greedily to the tokens of `prompt`."""

    row_id: str
    prompt: list[int]
    answer: Generated
    sampling: Sampling

    def repeat(self, saved: ChatModel, tolerance: float) -> str:
        """Ask a saved model the same; return in words how its answer is the same one.

        Where two tokens are as likely as each other within `tolerance` (of the largest logit, at least of 1), either
        may come. Raises SelfTestError where the saved model says something else, or ends elsewhere.
        """
        (found,) = generate(saved.next_tokens, [self.prompt], saved.stops, self.sampling)
        told = f"its answer to {self.row_id}"
        if found == self.answer:
            ends = "ends by itself" if found.reason == "stop" else "runs as far as allowed"
            return f"{told} has the same {len(found.ids)} tokens and {ends}"
        place = next(
            (i for i, pair in enumerate(zip(found.ids, self.answer.ids, strict=False)) if pair[0] != pair[1]),
            min(len(found.ids), len(self.answer.ids)),
        )
        if self._are_alike(saved, place, tolerance):
            return f"{told} is the same up to token {place + 1}, where two are equally likely"
        raise self._differs(saved, found, place)

    def _are_alike(self, saved: ChatModel, place: int, tolerance: float) -> bool:
        """Tell whether the saved model might as well have said what the trained one said at a place."""
        import torch

        with torch.inference_mode():
            (logits,) = saved.next_tokens.begin(1).read({0: [*self.prompt, *self.answer.ids[:place]]})
        said = self.answer.ids[place : place + 1] or sorted(saved.stops)
        least = float(logits.max()) - float(logits[said].max())
        return least <= tolerance * max(1.0, float(logits.abs().max()))

    def _differs(self, saved: ChatModel, found: Generated, place: int) -> SelfTestError:
        ours, theirs = (saved.read(answer.ids[: place + 1]) for answer in (self.answer, found))
        return self_test_error(f"to {self.row_id} it answers {theirs!r} …, the trained one {ours!r} …")
