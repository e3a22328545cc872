"""A conversation with a finished language model over real HTTP: whole, streamed, drawn, and without the adapter."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from support.services import Services

pytestmark = pytest.mark.integration

ASKED = [{"role": "user", "content": "When do you open? 0"}]


class Talk:
    """The chat route of the newest run."""

    def __init__(self, address: str) -> None:
        self.address = f"{address}/experiments/latest/chat"

    def ask(self, messages: list[dict[str, str]] = ASKED, **options: Any) -> dict[str, Any]:
        """Return the whole answer."""
        answer = httpx.post(self.address, json={"messages": messages, "max_new_tokens": 12, **options}, timeout=600)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def stream(self, **options: Any) -> list[tuple[str, dict[str, Any]]]:
        """Return kind and data of every event."""
        body = {"messages": ASKED, "max_new_tokens": 12, "stream": True, **options}
        with httpx.stream("POST", self.address, json=body, timeout=600) as answer:
            assert (answer.status_code, answer.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
            text = "".join(answer.iter_text())
        events = [event.split("\n", 1) for event in text.strip().split("\n\n")]
        return [(kind.removeprefix("event: "), json.loads(data.removeprefix("data: "))) for kind, data in events]


@pytest.fixture
def talk(talk_api: Services) -> Talk:
    return Talk(talk_api.api_address)


def test_the_pieces_are_the_answer_and_the_last_event_holds_it_whole(talk: Talk) -> None:
    whole = talk.ask()
    *pieces, (last, end) = talk.stream()
    assert last == "end"
    assert end == whole
    assert {kind for kind, _ in pieces} == {"text"}
    assert "".join(piece["text"] for _, piece in pieces) == whole["answer"]
    assert whole["tokens"] <= 12
    assert (whole["finish_reason"] == "length") == (whole["tokens"] == 12)
    assert whole["prompt_tokens"] > 0


def test_an_answer_that_may_be_longer_goes_on_from_the_shorter_one(talk: Talk) -> None:
    one, more = (talk.ask(max_new_tokens=count) for count in (1, 8))
    assert (one["tokens"], one["finish_reason"]) == (1, "length")
    assert more["answer"].startswith(one["answer"].rstrip("\ufffd"))


def test_the_same_seed_draws_the_same_answer(talk: Talk) -> None:
    drawn = [talk.ask(temperature=2.0, top_p=0.99, top_k=300, seed=seed)["answer"] for seed in (7, 7, 8)]
    assert drawn[0] == drawn[1] != drawn[2]


def test_the_base_model_answers_without_what_was_learnt_also_in_between(talk: Talk) -> None:
    """Two answers in work share one process, of which each takes the adapter or not, token by token."""
    tuned, base = talk.ask(), talk.ask(base=True)
    assert tuned["answer"] != base["answer"]
    with ThreadPoolExecutor(6) as visitors:
        asked = [visitors.submit(talk.ask, base=number % 2 == 1) for number in range(6)]
    assert [found.result() for found in asked] == [tuned, base] * 3


def test_turns_and_what_is_told_first_are_read(talk: Talk) -> None:
    turns = [*ASKED, {"role": "assistant", "content": "We open at nine."}, {"role": "user", "content": "Thank you."}]
    told = talk.ask(turns, system="Be brief.")
    assert told["prompt_tokens"] > talk.ask(turns)["prompt_tokens"] > talk.ask()["prompt_tokens"]
    assert told == talk.ask([{"role": "system", "content": "Be brief."}, *turns])


def test_a_conversation_longer_than_the_model_reads_is_refused_with_its_tokens(talk: Talk) -> None:
    messages = [{"role": "user", "content": "z9 " * 3000}]
    answer = httpx.post(talk.address, json={"messages": messages, "stream": True}, timeout=600)
    assert answer.status_code == 422
    assert "the model reads 2,048 with its answer" in answer.json()["message"]
    assert answer.json()["remedy"] == "leave out the oldest turns, or begin anew"


def test_half_of_a_character_is_no_text(talk: Talk) -> None:
    body = '{"messages": [{"role": "user", "content": "\\ud800"}]}'
    answer = httpx.post(talk.address, content=body, headers={"Content-Type": "application/json"}, timeout=600)
    assert (answer.status_code, answer.json()["error"]) == (422, "data_error")


def test_the_record_says_that_the_model_can_be_talked_with(talk: Talk) -> None:
    run = httpx.get(talk.address.removesuffix("/chat"), timeout=600).json()
    assert run["answers_conversations"] is True
