"""A conversation as the page keeps it, and how the pieces of an answer are read."""

from __future__ import annotations

import json
from collections.abc import Callable

import httpx
import pytest

from finetune30.ui.answer_events import read_events
from finetune30.ui.client import ApiClient, ApiError, ApiUnreachableError
from finetune30.ui.conversation import Conversation, Side

TUNED, BASE = Side("a"), Side("a", is_base=True)
QUESTION = {"messages": [{"role": "user", "content": "When?"}]}


def test_every_side_is_sent_its_own_replies() -> None:
    talk = Conversation()
    first = talk.ask("When?", [TUNED, BASE])
    for side, pieces in ((TUNED, ("At ", "nine.")), (BASE, ("No ", "idea."))):
        for piece in pieces:
            first.replies[side].take({"text": piece})
    first.replies[BASE].take({"answer": "No idea.", "finish_reason": "length"})
    assert (first.replies[TUNED].reason, first.replies[BASE].reason) == (None, "length")
    talk.ask("Where?", [TUNED, BASE])
    assert [message["content"] for message in talk.messages(TUNED)] == ["When?", "At nine.", "Where?"]
    assert [message["content"] for message in talk.messages(BASE)] == ["When?", "No idea.", "Where?"]
    assert [message["role"] for message in talk.messages(BASE)] == ["user", "assistant", "user"]


def test_a_turn_that_a_side_refused_is_not_sent_to_it_again() -> None:
    talk = Conversation()
    talk.ask("much too long", [TUNED]).replies[TUNED].error = {"error": "data_error"}
    talk.ask("When?", [TUNED])
    assert talk.messages(TUNED) == QUESTION["messages"]


def test_events_are_read_and_comments_left_out() -> None:
    lines = [": still here", "", "event: text", 'data: {"text": "a: b"}', "", "id: 3", 'data: {"x": 1}', ""]
    assert list(read_events(lines)) == [("text", {"text": "a: b"}), ("message", {"x": 1})]


def client_of(answer: Callable[[httpx.Request], httpx.Response]) -> ApiClient:
    return ApiClient("http://api.test/", transport=httpx.MockTransport(answer))


def test_an_answer_comes_in_pieces_and_asks_to_be_streamed() -> None:
    asked = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(json.loads(request.content))
        end = {"answer": "at nine", "finish_reason": "stop"}
        text = f'event: text\ndata: {{"text": "at"}}\n\nevent: end\ndata: {json.dumps(end)}\n\n'
        return httpx.Response(200, text=text)

    pieces = list(client_of(answer).stream_answer("run", QUESTION))
    assert pieces == [{"text": "at"}, {"answer": "at nine", "finish_reason": "stop"}]
    assert asked == [{**QUESTION, "stream": True}]


def test_a_refusal_before_and_an_error_within_an_answer_are_refusals() -> None:
    error = {"error": "conflict", "message": "it holds no conversations", "remedy": "ask another"}
    with pytest.raises(ApiError, match="holds no conversations") as caught:
        list(client_of(lambda _: httpx.Response(409, json=error)).stream_answer("run", QUESTION))
    assert caught.value.status == 409
    text = f'event: text\ndata: {{"text": "at"}}\n\nevent: error\ndata: {json.dumps(error)}\n\n'
    pieces = client_of(lambda _: httpx.Response(200, text=text)).stream_answer("run", QUESTION)
    assert next(pieces) == {"text": "at"}
    with pytest.raises(ApiError, match="holds no conversations"):
        next(pieces)


def test_an_api_that_goes_away_in_an_answer_is_told_apart() -> None:
    def break_off(request: httpx.Request) -> httpx.Response:
        def content() -> object:
            yield b'event: text\ndata: {"text": "at"}\n\n'
            raise httpx.ReadError("reset", request=request)

        return httpx.Response(200, content=content())  # type: ignore[arg-type]

    pieces = client_of(break_off).stream_answer("run", QUESTION)
    assert next(pieces) == {"text": "at"}
    with pytest.raises(ApiUnreachableError, match="reset"):
        next(pieces)
