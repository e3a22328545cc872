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
        prompts = [model.encoder.ask_text(text) for text in texts]
    else:
        prompts = [model.ask([{"role": "user", "content": text}]) for text in texts]
    answers = []
    for prompt, generated in zip(prompts, model.answer(prompts, sampling, batch_size), strict=True):
        text = model.read(generated.ids, prompt)
        tree = {"answer": text, "finish_reason": generated.reason, "tokens": len(generated.ids)}
        answers.append(Answer(tree, tree, text))
    return answers
