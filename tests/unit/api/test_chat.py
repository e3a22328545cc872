"""The route that answers conversations: what it refuses, how many it answers at a time, and who leaves.

The model's process is a script that answers for ever, over real HTTP.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.testclient import TestClient

from finetune30.api import answer_stream
from finetune30.api.application import build_app
from support.api_thread import serve
from support.patience import wait_until
from unit.api.conftest import Recorder, build_settings

#: Called like the interpreter: `-m finetune30 answer RUN`. Every answer says "on " until it is left.
SPEAKER = """#!{python}
import json, pathlib, sys
numbers = 0
for line in sys.stdin:
    asked = json.loads(line)
    if "chat" in asked:
        numbers += 1
        pathlib.Path("asked.json").write_text(json.dumps(asked["chat"]))
        shape = {{"answer": numbers, "prompt_tokens": 3}}
    elif "leave" in asked:
        with open("left", "a") as left:
            left.write(f"{{asked['leave']}} ")
        shape = {{}}
    elif pathlib.Path("die").exists():
        sys.exit(1)
    elif pathlib.Path("end").exists():
        shape = {{"finish_reason": "stop", "tokens": 4}}
    else:
        shape = {{"text": "on "}}
    print(json.dumps(shape), flush=True)
"""
ASKED = [{"role": "user", "content": "Go on?"}]
DESCRIBED = json.dumps({"targets": {"chat": {"template": {"digest": "ab"}}}}).encode()


@pytest.fixture
def talked_with(submit: Callable[..., str], finish: Callable[..., None]) -> str:
    """The id of a run whose published model has a chat template."""
    run_id = submit()
    finish(run_id, {"artifacts/final_model/labels.json": DESCRIBED})
    return run_id


@pytest.fixture
def address(talked_with: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The chat route of that run, served over HTTP; its model is the script."""
    script = tmp_path / "speaker"
    script.write_text(SPEAKER.format(python=sys.executable))
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(script))
    monkeypatch.setattr(answer_stream, "MOST_ANSWERS", 4)
    with serve(build_app(build_settings(), publisher=Recorder())) as served:
        yield f"{served}/experiments/{talked_with}/chat"


@contextmanager
def listening(address: str) -> Iterator[tuple[int, Iterator[str]]]:
    """Give the status of a stream and its lines; at the end the listener goes away."""
    with httpx.stream("POST", address, json={"messages": ASKED, "stream": True}, timeout=240) as answer:
        yield answer.status_code, answer.iter_lines()


def left() -> list[str]:
    return Path("left").read_text().split() if Path("left").exists() else []


def test_who_leaves_ends_the_answer_and_its_place_is_free(address: str) -> None:
    with listening(address) as (status, lines):
        assert status == 200
        assert [next(lines), next(lines)] == ["event: text", 'data: {"text":"on "}']
    wait_until(lambda: left() == ["1"], 60, "the process gave the answer up")
    with ExitStack() as visitors:
        assert [visitors.enter_context(listening(address))[0] for _ in range(3)] == [200, 200, 429]
    wait_until(lambda: sorted(left()) == ["1", "2", "3"], 60, "the process gave all answers up")


def test_who_waits_for_the_whole_answer_and_leaves_ends_it_too(address: str) -> None:
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(address, json={"messages": ASKED}, timeout=2)
    wait_until(lambda: left() == ["1"], 60, "the process gave the answer up")


def test_others_are_answered_while_answers_come(address: str) -> None:
    with listening(address) as (_, lines), ThreadPoolExecutor(1) as visitor:
        next(lines)
        for place in ("/healthz", "/experiments/stats"):
            root = address.partition("/experiments")[0]
            assert visitor.submit(httpx.get, root + place, timeout=240).result().status_code == 200
        assert [next(lines) for _ in range(3)].count("event: text") == 1  # it still goes on


def test_an_answer_that_ends_is_told_whole_and_its_question_came_as_it_was_sent(address: str) -> None:
    with listening(address) as (_, lines):
        next(lines)
        Path("end").touch()
        *_, data, _ = lines
    end = json.loads(data.removeprefix("data: "))
    assert set(end.pop("answer").split()) == {"on"}
    assert end == {"finish_reason": "stop", "tokens": 4, "prompt_tokens": 3}
    body = {"messages": ASKED, "system": "Be brief.", "temperature": 0.5, "top_p": 0.9, "top_k": 40, "seed": 7}
    assert httpx.post(address, json={**body, "max_new_tokens": 9, "base": True}, timeout=240).status_code == 200
    assert json.loads(Path("asked.json").read_text()) == {
        "messages": [{"role": "system", "content": "Be brief."}, *ASKED],
        "sampling": {"max_new_tokens": 9, "temperature": 0.5, "top_p": 0.9, "top_k": 40, "seed": 7},
        "base": True,
    }


def test_a_process_that_ends_in_an_answer_is_said_and_replaced(address: str) -> None:
    with listening(address) as (_, lines):
        next(lines)
        Path("die").touch()
        told = list(lines)
    assert told[-3] == "event: error"
    assert json.loads(told[-2].removeprefix("data: "))["error"] == "service_unavailable"
    Path("die").unlink()
    with listening(address) as (status, lines):
        assert (status, next(lines)) == (200, "event: text")


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ({"messages": []}, 422, "messages"),
        ({"messages": [{"role": "robot", "content": "a"}]}, 422, "messages.0.role: Input should be 'system', 'user'"),
        ({"messages": [{"role": "user"}]}, 422, "messages.0.content"),
        ({"messages": [*ASKED, {"role": "assistant", "content": "a"}]}, 400, "is of the role 'assistant'"),
        ({"messages": [{"role": "user", "content": " \n"}]}, 400, "the last message says nothing"),
        ({"messages": [*ASKED, {"role": "system", "content": "a"}, *ASKED]}, 400, "message 2 is a system message"),
        ({"messages": [{"role": "system", "content": "a"}, *ASKED], "system": "b"}, 400, "message 1 is a system"),
        ({"messages": [{"role": "user", "content": "a" * 200_001}]}, 400, "has 200,001 characters"),
        ({"messages": ASKED, "temperature": -0.1}, 422, "temperature"),
        ({"messages": ASKED, "top_p": 0}, 422, "top_p"),
        ({"messages": ASKED, "top_k": -1}, 422, "top_k"),
        ({"messages": ASKED, "seed": 1 << 63}, 422, "seed"),
        ({"messages": ASKED, "max_new_tokens": 0}, 422, "max_new_tokens"),
        ({"messages": ASKED, "max_tokens": 9}, 422, "max_tokens"),
    ],
)
def test_what_cannot_be_asked_is_said_before_a_model_is_loaded(
    api: TestClient, talked_with: str, body: dict[str, Any], status: int, said: str
) -> None:
    answer = api.post(f"/experiments/{talked_with}/chat", json=body)
    assert answer.status_code == status, answer.text
    assert said in answer.json()["message"]
    assert answer.json()["remedy"]


def test_a_model_that_holds_no_conversations_is_asked_by_the_route_that_is_named(
    api: TestClient, submit: Callable[..., str], finish: Callable[..., None]
) -> None:
    run_id = submit()
    finish(run_id, {"artifacts/final_model/labels.json": b'{"targets": {"label_names": ["a", "b"]}}'})
    answer = api.post(f"/experiments/{run_id}/chat", json={"messages": ASKED})
    assert (answer.status_code, answer.json()["error"]) == (409, "conflict")
    assert answer.json()["remedy"] == "ask it with POST /experiments/{id}/predict"
    assert api.get(f"/experiments/{run_id}").json()["answers_conversations"] is False


def test_a_run_without_a_model_cannot_be_talked_with(api: TestClient, submit: Callable[..., str]) -> None:
    answer = api.post(f"/experiments/{submit()}/chat", json={"messages": ASKED})
    assert answer.status_code == 409
    assert "no finished model" in answer.json()["message"]
    assert api.post("/experiments/nothing/chat", json={"messages": ASKED}).status_code == 404


def test_a_conversation_leaves_no_trail(api: TestClient, submit: Callable[..., str]) -> None:
    api.post(f"/experiments/{submit()}/chat", json={"messages": ASKED})
    assert "chat" not in api.get("/audit").text
