"""Calls of tools: each declared, with its arguments, and answered once."""

import json

import pytest

from finetune30.data.conversations.checks import find_fault
from finetune30.data.conversations.conversation import Conversation, Message

TOOLS = [{"function": {"name": "weather", "parameters": {"properties": {"city": {}}, "required": ["city"]}}}]


def call(name: str | None, **arguments: str) -> dict[str, object]:
    """Return a call with that id; None: without one."""
    function = {"name": "weather", "arguments": json.dumps(arguments or {"city": "Taipei"})}
    return {"function": function} if name is None else {"id": name, "function": function}


def conversation(calls: list[dict[str, object]], *results: tuple[str | None, str], ends: bool = True) -> Conversation:
    """Return a question, calls, results (id and text), and an answer where it `ends` with one."""
    return Conversation(
        (
            Message("user", "How is the weather?"),
            Message("assistant", "", tool_calls=json.dumps(calls)),
            *(Message("tool", text, tool_call_id=name) for name, text in results),
            *([Message("assistant", "Sunny.")] if ends else []),
        ),
        tools=json.dumps(TOOLS),
    )


TWO = [call("x"), call("y")]


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (conversation(TWO, ("x", "r")), "turn 4 (assistant): the call of 'weather' in front of it has no result"),
        (conversation([call("x")], ("x", "r"), ("x", "again")), "turn 4 (tool): the call that it answers has a result"),
        (conversation(TWO, ("x", "r"), ("x", "r")), "turn 4 (tool): the call that it answers has a result"),
        (conversation(TWO, ("x", "r"), ("z", "r")), "turn 4 (tool): it answers the call 'z', which was not made"),
        (conversation([call(None), call(None)], (None, "r")), "turn 4 (assistant): the call of 'weather' in front"),
        (conversation([call(None)], (None, "r"), (None, "r")), "turn 4 (tool): the call that it answers has a result"),
        (conversation([call("x", town="Taipei")], ("x", "r")), "turn 2 (assistant): the call of 'weather' lacks"),
    ],
)
def test_a_call_without_its_result_with_several_or_without_an_argument_is_a_fault(row, words):
    fault = find_fault(row)
    assert fault is not None
    assert (fault.rule, fault.fix.startswith(words)) == ("broken_tool_call", True), fault.fix


@pytest.mark.parametrize(
    "row",
    [
        conversation(TWO, ("y", "r"), ("x", "r")),
        conversation(TWO, (None, "r"), (None, "r")),
        conversation([call(None), call(None)], (None, '["r", "r"]')),
        conversation([call(None)], ("x", "r")),
        conversation([call(None)], (None, '["a", "list"]')),
        conversation(TWO, ends=False),
    ],
    ids=["other order", "no ids", "both in a list", "an id of its own", "one list", "the call is what is learnt"],
)
def test_calls_that_are_answered_once_are_no_fault(row):
    assert find_fault(row) is None
