"""Language models of `ft30 serve`: the shapes of OpenAI, what is refused, answers that take turns."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import httpx
import pytest

from finetune30.service.serving.batcher import Limits
from support.serving_lab import ServingLab, serve_lab
from support.talk_lab import QUESTIONS, TalkLab

pytestmark = pytest.mark.integration

ASKED = [{"role": "user", "content": "When do you open? 0"}]


TRAINED = {"training.num_train_epochs": 1}


@pytest.fixture(scope="module")
def talk(fork_server, tmp_path_factory: pytest.TempPathFactory) -> TalkLab:
    lab = TalkLab(fork_server, tmp_path_factory.mktemp("talk-serving"))
    assert lab.train("results", TRAINED).returncode == 0
    assert lab.ft30("models", "register", "latest", "talk").returncode == 0
    return lab


@pytest.fixture(scope="module")
def lab(talk: TalkLab) -> Iterator[ServingLab]:
    with serve_lab(talk.folder, "talk") as found:
        found.watcher.look()
        yield found


def post(lab: ServingLab, path: str = "/v1/chat/completions", **body: Any) -> httpx.Response:
    asked = {"model": "talk", "max_tokens": 8, **({} if "prompt" in body else {"messages": ASKED}), **body}
    return httpx.post(lab.address + path, json=asked, timeout=120)


def stream(lab: ServingLab, **body: Any) -> list[Any]:
    answer = post(lab, stream=True, **body)
    assert answer.headers["x-accel-buffering"] == "no"
    assert answer.headers["content-type"].startswith("text/event-stream")
    *events, done, rest = answer.text.split("\n\n")
    assert (done, rest) == ("data: [DONE]", "")
    return [json.loads(event.removeprefix("data: ")) for event in events]


def test_a_whole_answer_has_what_clients_read(lab: ServingLab) -> None:
    told = post(lab, temperature=0).json()
    assert (told["object"], told["model"], told["ft30"]["version"]) == ("chat.completion", "talk:1", 1)
    (choice,) = told["choices"]
    assert (choice["index"], choice["message"]["role"], choice["logprobs"]) == (0, "assistant", None)
    assert choice["finish_reason"] in ("stop", "length")
    usage = told["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    assert usage["completion_tokens"] <= 8
    (model,) = httpx.get(f"{lab.address}/v1/models").json()["data"]
    assert (model["id"], model["object"], model["ft30"]["version"]) == ("talk@latest", "model", 1)


def test_a_streamed_answer_is_the_whole_one_with_its_end_and_usage(lab: ServingLab) -> None:
    whole = post(lab).json()
    *chunks, last, usage = stream(lab, stream_options={"include_usage": True})
    assert chunks[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    text = "".join(chunk["choices"][0]["delta"]["content"] for chunk in chunks)
    assert text == whole["choices"][0]["message"]["content"]
    assert {chunk["choices"][0]["finish_reason"] for chunk in chunks} == {None}
    assert last["choices"][0]["finish_reason"] == whole["choices"][0]["finish_reason"]
    assert (usage["choices"], usage["usage"]) == ([], whole["usage"])
    assert len({(chunk["id"], chunk["created"]) for chunk in (*chunks, last, usage)}) == 1
    assert "usage" not in stream(lab)[-1]


def test_a_stop_text_ends_an_answer_before_it(lab: ServingLab) -> None:
    # The likeliest tokens of a model so small are all the same.
    drawn: dict[str, Any] = {"max_tokens": 32, "temperature": 1.5, "seed": 5}
    text = post(lab, **drawn).json()["choices"][0]["message"]["content"]
    stop = text[-2:]
    assert text.index(stop) > 0
    told = post(lab, **drawn, stop=[stop]).json()["choices"][0]
    assert (told["message"]["content"], told["finish_reason"]) == (text[: text.index(stop)], "stop")
    pieces = [chunk["choices"][0]["delta"].get("content", "") for chunk in stream(lab, **drawn, stop=stop)]
    assert "".join(pieces) == text[: text.index(stop)]


def test_a_text_is_gone_on_with(lab: ServingLab) -> None:
    told = post(lab, "/v1/completions", prompt="When do you", return_token_ids=True).json()
    assert told["object"] == "text_completion"
    assert len(told["choices"][0]["token_ids"]) == told["usage"]["completion_tokens"]
    assert len(told["prompt_token_ids"]) == told["usage"]["prompt_tokens"]


def test_tokens_are_told_up_to_a_stop_text_and_in_a_stream(lab: ServingLab) -> None:
    drawn: dict[str, Any] = {"max_tokens": 32, "temperature": 1.5, "seed": 5, "return_token_ids": True}
    free = post(lab, **drawn).json()
    text, ids = free["choices"][0]["message"]["content"], free["choices"][0]["token_ids"]
    told = post(lab, **drawn, stop=text[-2:]).json()
    cut = told["choices"][0]["token_ids"]
    assert cut
    assert cut == ids[: told["usage"]["completion_tokens"]]
    *_, last = stream(lab, **drawn, stop=text[-2:])
    assert (last["choices"][0]["token_ids"], last["prompt_token_ids"]) == (cut, told["prompt_token_ids"])


IMAGE = {"role": "user", "content": [{"type": "image_url"}]}
REFUSED: dict[str, tuple[dict[str, Any], int, str | None]] = {
    "tools": ({"tools": [{"type": "function"}]}, 400, "tools"),
    "several answers": ({"n": 2}, 400, "n"),
    "a format": ({"response_format": {"type": "json_object"}}, 400, "response_format"),
    "probabilities": ({"logprobs": True}, 400, "logprobs"),
    "an image": (
        {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
        400,
        "messages.0.content.0.type",
    ),
    "a penalty": ({"frequency_penalty": 0.5}, 400, "frequency_penalty"),
    "a wrong number": ({"temperature": -1}, 400, "temperature"),
    "a long conversation": ({"messages": [{"role": "user", "content": "a " * 3000}]}, 400, "messages"),
    "no model": ({"model": "nothing"}, 404, None),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_done_is_refused_by_name(lab: ServingLab, name: str) -> None:
    change, status, param = REFUSED[name]
    answer = post(lab, **change)
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    assert error["param"] == param
    assert status != 400 or error["type"] == "invalid_request_error"


def test_what_asks_for_nothing_is_taken(lab: ServingLab) -> None:
    neutral: dict[str, Any] = {
        "n": 1,
        "tools": [],
        "logprobs": False,
        "response_format": {"type": "text"},
        "user": "anna",
    }
    assert post(lab, **neutral).status_code == 200
    parts = [{"role": "user", "content": [{"type": "text", "text": ASKED[0]["content"]}]}]
    assert post(lab, messages=parts).json()["choices"] == post(lab).json()["choices"]


def test_answers_take_turns_and_none_is_anothers(lab: ServingLab) -> None:
    asked = [[{"role": "user", "content": question}] for question in QUESTIONS]
    alone = [post(lab, messages=messages).json()["choices"] for messages in asked]
    with ThreadPoolExecutor(8) as callers:
        together = list(callers.map(lambda place: post(lab, messages=asked[place % 5]).json()["choices"], range(15)))
    assert together == [alone[place % 5] for place in range(15)]


def test_whoever_leaves_ends_the_answer(lab: ServingLab) -> None:
    from support.patience import wait_until

    body = {"model": "talk", "messages": ASKED, "stream": True, "max_tokens": 60}
    with httpx.stream("POST", f"{lab.address}/v1/chat/completions", json=body) as answer:
        next(answer.iter_lines())
    wait_until(lambda: lab.serving.talks.in_work == 0, 30, "nothing is in work")


def test_a_late_answer_and_a_classifiers_question_are_refused(talk: TalkLab) -> None:
    with serve_lab(talk.folder, "talk", limits=Limits(deadline=-1.0)) as lab:
        lab.watcher.look()  # the check itself is never late
        late = post(lab)
        assert (late.status_code, late.json()["error"]["code"]) == (504, "deadline_exceeded")
        assert late.json()["error"]["type"] == "server_error"
        asked = httpx.post(f"{lab.address}/predict/talk", json={"texts": ["a"]})
        assert (asked.status_code, "/v1/chat/completions" in asked.json()["remedy"]) == (409, True)


def test_a_prompt_is_as_long_as_the_server_says(lab: ServingLab, talk: TalkLab) -> None:
    short, long = ([{"role": "user", "content": "When do you open? 0" + " open" * more}] for more in (8, 16))
    count = post(lab, messages=short).json()["usage"]["prompt_tokens"]
    with serve_lab(talk.folder, "talk", limits=Limits(prompt_tokens=count)) as bounded:
        bounded.watcher.look()
        refused = post(bounded, messages=long)
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, "messages")
        remedy = "(ask with fewer words, or start the server with a larger --max_prompt_tokens)"
        assert f"and this server reads at most {count} {remedy}" in refused.json()["error"]["message"]
        assert post(bounded, messages=short).status_code == 200
    assert post(lab, messages=long).status_code == 200


def test_a_model_that_reads_too_long_is_not_waited_for(talk: TalkLab) -> None:
    go = threading.Event()

    class Slow:
        """The real model, whose first step ends once it is let go."""

        def __init__(self, model: Any) -> None:
            self._model = model

        def __getattr__(self, name: str) -> Any:
            return getattr(self._model, name)

        def stream(self, *asked: Any) -> Any:
            go.wait()
            yield from self._model.stream(*asked)

    with serve_lab(talk.folder, "talk", limits=Limits(deadline=1.0)) as lab:
        lab.watcher.look()
        (slot,) = lab.serving.slots.slots
        assert slot.live is not None
        slot.live = replace(slot.live, talks=Slow(slot.live.talks))
        try:
            late, streamed = post(lab), post(lab, stream=True)
        finally:
            go.set()
    assert (late.status_code, late.json()["error"]["code"]) == (504, "deadline_exceeded")
    assert '"code":"deadline_exceeded"' in streamed.text
