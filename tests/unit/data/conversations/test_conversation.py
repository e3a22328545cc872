"""The canonical form: what is written is read again, exactly."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune30.data.conversations.conversation import ROLES, Conversation, Message, dump, load, write_json

TEXTS = st.text(st.characters(codec="utf-8"), max_size=30)
TREES = st.dictionaries(
    TEXTS, st.none() | st.booleans() | st.integers() | TEXTS | st.lists(TEXTS, max_size=2), max_size=3
)
MESSAGES = st.builds(
    Message,
    st.sampled_from(ROLES),
    TEXTS,
    name=st.none() | TEXTS,
    tool_calls=st.none() | st.lists(TREES, min_size=1, max_size=2).map(write_json),
    tool_call_id=st.none() | TEXTS,
    reasoning_content=st.none() | TEXTS,
)
EXPECTED = st.lists(TEXTS, max_size=2).map(tuple)
CONVERSATIONS = (
    st.builds(
        Conversation,
        st.lists(MESSAGES, min_size=1, max_size=4).map(tuple),
        st.none() | st.lists(TREES, min_size=1, max_size=2).map(write_json),
        expected=EXPECTED,
    )
    | st.builds(Conversation, prompt=TEXTS, completion=TEXTS, expected=EXPECTED)
    | st.builds(Conversation, text=TEXTS, expected=EXPECTED)
)


@given(CONVERSATIONS)
def test_what_is_written_is_read_again(conversation):
    text = dump(conversation)
    assert load(text) == conversation
    assert dump(load(text)) == text
    assert conversation.with_contents(conversation.contents) == conversation


def test_keys_stand_in_one_order_and_characters_as_they_are():
    conversation = Conversation((Message("user", "台北在哪？", name="王"), Message("assistant", "在台灣。")))
    expected = (
        '{"messages":[{"role":"user","content":"台北在哪？","name":"王"},{"role":"assistant","content":"在台灣。"}]}'
    )
    assert dump(conversation) == expected


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        "{}",
        '{"messages":[]}',
        '{"messages":[{"role":"gpt","content":"a"}]}',
        '{"messages":[{"role":"user","content":null}]}',
        '{"messages":[{"role":"user","content":"a","weight":1}]}',
        '{"prompt":"a"}',
        '{"text":1}',
        "no JSON",
    ],
)
def test_anything_else_is_no_canonical_form(text):
    with pytest.raises(ValueError):
        load(text)


def test_tools_stay_what_their_row_says():
    tools = [{"type": "function", "function": {"name": "f", "parameters": {"b": None, "a": 1}}}]
    found = load(json.dumps({"messages": [{"role": "user", "content": "x"}], "tools": tools}))
    assert found.tools == '[{"type":"function","function":{"name":"f","parameters":{"b":null,"a":1}}}]'
