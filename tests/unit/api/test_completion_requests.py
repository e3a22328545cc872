"""What clients of OpenAI may ask for: what would change the answer and is not known is refused by its name."""

from __future__ import annotations

from typing import Any

import pytest

from finetune30.api.serving.chat_requests import ChatRequest, CompletionRequest
from finetune30.errors import UsageError

ASKED = {"model": "talk", "messages": [{"role": "user", "content": "When do you open?"}]}

REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "no answer at all": ({"n": 0}, "n"),
    "a number of probabilities": ({"logprobs": 0}, "logprobs"),
    "a penalty": ({"repetition_penalty": 1.1}, "repetition_penalty"),
    "no penalty at all": ({"repetition_penalty": 0}, "repetition_penalty"),
    "a tool": ({"tool_choice": "required"}, "tool_choice"),
    "what nobody knows": ({"unheard_of": 0}, "unheard_of"),
    "an empty text for what nobody knows": ({"unheard_of": ""}, "unheard_of"),
    "top_p without a temperature": ({"top_p": 0.9}, "top_p"),
    "top_k without a temperature": ({"top_k": 5}, "top_k"),
    "a seed without a temperature": ({"seed": 0}, "seed"),
    "two lengths": ({"max_tokens": 5, "max_completion_tokens": 6}, "max_completion_tokens"),
    "an option of a stream": ({"stream_options": {"include_obfuscation": True}}, "stream_options.include_obfuscation"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_would_change_the_answer_is_refused_by_name(name: str) -> None:
    change, param = REFUSED[name]
    with pytest.raises(UsageError) as refused:
        ChatRequest.model_validate({**ASKED, **change}).require_known()
    assert refused.value.details == {"param": param}


NEUTRAL: tuple[dict[str, Any], ...] = (
    {"tool_choice": "none", "tools": [], "parallel_tool_calls": True},
    {"repetition_penalty": 1, "presence_penalty": 0.0, "frequency_penalty": 0},
    {"n": 1, "logprobs": False, "top_logprobs": None, "logit_bias": {}},
    {"top_p": 1, "top_k": 0, "seed": None},
    {"top_p": 0.9, "top_k": 5, "seed": 3, "temperature": 0},
    {"max_tokens": 6, "max_completion_tokens": 6},
    {"unheard_of": None, "store": False, "user": "anna"},
)


@pytest.mark.parametrize("change", NEUTRAL, ids=lambda change: ", ".join(change))
def test_what_asks_for_nothing_is_taken(change: dict[str, Any]) -> None:
    ChatRequest.model_validate({**ASKED, **change}).require_known()


def test_both_names_of_the_length_are_known() -> None:
    assert ChatRequest.model_validate({**ASKED, "max_completion_tokens": 6}).new_tokens == 6
    assert ChatRequest.model_validate({**ASKED, "max_tokens": 7}).new_tokens == 7
    with pytest.raises(UsageError, match="max_completion_tokens is not supported"):
        CompletionRequest.model_validate({"model": "talk", "prompt": "a", "max_completion_tokens": 6}).require_known()


def test_a_name_within_a_message_is_refused_as_no_template_reads_it() -> None:
    named = {**ASKED, "messages": [{"role": "user", "content": "a", "name": "anna"}]}
    with pytest.raises(UsageError, match=r"messages\.0\.name is not supported"):
        ChatRequest.model_validate(named).read_messages()
    unnamed = {**ASKED, "messages": [{"role": "user", "content": "a", "name": None}]}
    assert ChatRequest.model_validate(unnamed).read_messages() == [{"role": "user", "content": "a"}]
