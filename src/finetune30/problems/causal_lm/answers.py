"""Answers of a language model to single questions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from finetune30.modeling.conversations.generation import Sampling
from finetune30.training.problem import Answer

if TYPE_CHECKING:
    from finetune30.modeling.conversations.chat_model import ChatModel


def answer_texts(model: ChatModel, texts: list[str], max_new_tokens: int, batch_size: int) -> list[Answer]:
    """Answer each text as a conversation of its own, or go on with it where the model knows no conversations."""
    sampling = Sampling(max_new_tokens=max_new_tokens)
    if model.encoder.template is None:
        found = model.go_on(texts, sampling, batch_size)
    else:
        found = model.answer([[{"role": "user", "content": text}] for text in texts], sampling, batch_size)
    answers = []
    for generated in found:
        text = model.read(generated.ids)
        tree = {"answer": text, "finish_reason": generated.reason, "tokens": len(generated.ids)}
        answers.append(Answer(tree, tree, text))
    return answers
