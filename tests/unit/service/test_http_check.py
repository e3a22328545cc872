"""The check through HTTP asks what the routes take, and holds answers by what their logits may differ."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, get_args

import numpy as np
import polars as pl
import pytest
from fastapi import FastAPI, Request, Response

from finetune30.api.serving.chat_requests import Message
from finetune30.data.questions import ASKING_ROLES, LONGEST_TEXT
from finetune30.errors import SelfTestError, ServiceUnavailableError
from finetune30.service.serving.http_check import HttpCheck
from finetune30.store.model_records import ModelVersion, VersionState
from support.api_thread import serve

VERSION = ModelVersion(
    "moods", 1, "run", VersionState.READY, "m", "a", "l", "b", "v", {}, {}, datetime(2026, 1, 1, tzinfo=UTC), "anna"
)
NAMED = {"version": 1, "adapter_sha256": "a"}
BODY_BYTES = 1 << 20


def values(logits: Any) -> list[dict[str, Any]]:
    """Answer with a number a text: labels of thousands, so that what is small was the difference of large ones."""
    return [{"value": 1000.0 * float(row[0]) - 1900.0} for row in logits]


@contextmanager
def asked(answer: Callable[[dict[str, Any]], Any], **options: Any) -> Iterator[tuple[HttpCheck, list[bytes]]]:
    """Give a check of a server that answers so, and the bodies that it was sent."""
    app, bodies = FastAPI(), list[bytes]()

    @app.post("/{path:path}")
    async def post(request: Request) -> Response:
        bodies.append(await request.body())
        found = answer(json.loads(bodies[-1]))
        return found if isinstance(found, Response) else Response(json.dumps(found))

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        with serve(app, listener):
            given = {"body_bytes": BODY_BYTES, "prompt_tokens": 8, **options}
            yield HttpCheck("127.0.0.1", listener.getsockname()[1], "key", **given), bodies


def texts(*given: str) -> pl.DataFrame:
    rows = {"text": list(given), "text_pair": [None] * len(given), "logits": [[float(len(one))] for one in given]}
    return pl.DataFrame(rows, schema_overrides={"text_pair": pl.String})


def answer_right(body: Mapping[str, Any], off: float = 0.0) -> dict[str, Any]:
    return {**NAMED, "answers": values(np.asarray([[len(one) + off] for one in body["texts"]], dtype=np.float64))}


def test_rows_are_asked_that_the_route_takes_in_bodies_that_it_takes() -> None:
    with asked(answer_right, body_bytes=10_000) as (check, bodies):
        given = ["é" * 2000, "雪" * 2000, "a" * (LONGEST_TEXT + 1), "b" * 9500, "c" * 3000]
        check.hold_texts("moods", VERSION, texts(*given), values)
    sent = [json.loads(body)["texts"] for body in bodies]
    assert sent == [[given[0]], [given[1]], [given[4]]] * 2 or sent[:2] == [[given[0]], [given[1], given[4]]]
    assert max(map(len, bodies)) <= 10_000
    assert "é".encode() in bodies[0]


def test_answers_may_move_as_far_as_their_logits_and_no_further() -> None:
    rows = texts("ab", "abcd")
    with asked(lambda body: answer_right(body, off=1.5e-4)) as (check, _):
        check.hold_texts("moods", VERSION, rows, values)  # 0.15 of 100; a logit of 2 may move by 2e-4
    with (
        asked(lambda body: answer_right(body, off=3e-4)) as (check, _),
        pytest.raises(SelfTestError, match="in one batch, it answers otherwise"),
    ):
        check.hold_texts("moods", VERSION, rows, values)


def shares(logits: Any) -> list[dict[str, Any]]:
    """Answer as a classifier does."""
    return [{"probabilities": {"a": 0.25, "b": 0.75}, "labels": ["b"], "confidence": 0.75} for _ in logits]


def test_a_row_at_a_threshold_may_be_decided_otherwise_and_lacks_no_number() -> None:
    withheld = {"no_answer": {"code": "not_sure", "message": "…"}}
    told = {"probabilities": {"a": 0.25, "b": 0.75}, **withheld}
    with asked(lambda body: {**NAMED, "answers": [told for _ in body["texts"]]}) as (check, _):
        check.hold_texts("moods", VERSION, texts("ab"), shares)
    with (
        asked(lambda body: {**NAMED, "answers": [withheld for _ in body["texts"]]}) as (check, _),
        pytest.raises(SelfTestError, match="answers otherwise by inf"),
    ):
        check.hold_texts("moods", VERSION, texts("ab"), shares)


def test_a_reference_of_which_nothing_can_be_asked_is_a_fault() -> None:
    with asked(answer_right) as (check, bodies):
        with pytest.raises(SelfTestError, match="none of 1 rows of its serving reference can be asked"):
            check.hold_texts("moods", VERSION, texts("a" * (LONGEST_TEXT + 1)), values)
        with pytest.raises(SelfTestError, match="none of 2 rows of its serving reference can be asked"):
            check.hold_tokens("moods", VERSION, talks(("tool", [1, 2]), ("user", list(range(8)))), 4, positions=8)
    assert bodies == []


def talks(*given: tuple[str, list[int]]) -> pl.DataFrame:
    rows = [json.dumps({"messages": [{"role": role, "content": "open?"}]}) for role, _ in given]
    tokens = [[7] if place == 0 else None for place in range(len(given))]
    return pl.DataFrame({"asked": rows, "ids": [ids for _, ids in given], "tokens": tokens})


def test_conversations_are_asked_that_the_route_takes() -> None:
    assert set(ASKING_ROLES) <= set(get_args(Message.model_fields["role"].annotation))

    def answer(body: dict[str, Any]) -> dict[str, Any]:
        told = {"token_ids": [7] * body["max_tokens"]}
        return {"ft30": NAMED, "prompt_token_ids": [1, 2], "choices": [told]}

    with asked(answer) as (check, bodies):
        check.hold_tokens("moods", VERSION, talks(("user", [1, 2]), ("user", [9])), 1, positions=None)
        assert [json.loads(body)["max_tokens"] for body in bodies] == [1]  # the other was not gone on with
        with pytest.raises(SelfTestError, match="reads a conversation as other tokens"):
            check.hold_tokens("moods", VERSION, talks(("tool", [1, 2]), ("user", [9])), 4, positions=None)


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (429, ServiceUnavailableError),
        (503, ServiceUnavailableError),
        (504, ServiceUnavailableError),
        (400, SelfTestError),
    ],
)
def test_a_busy_server_says_nothing_about_a_version(status: int, error: type[Exception]) -> None:
    with (
        asked(lambda _body: Response("busy", status_code=status)) as (check, _),
        pytest.raises(error, match=f"the server answers {status}: busy"),
    ):
        check.hold_texts("moods", VERSION, texts("ab"), values)


def test_an_answer_that_is_no_json_and_a_server_that_is_gone_are_told() -> None:
    with asked(lambda _body: Response("{")) as (check, _), pytest.raises(SelfTestError, match="answers no JSON"):
        check.hold_texts("moods", VERSION, texts("ab"), values)
    with pytest.raises(ServiceUnavailableError, match="does not reach itself"):
        check.hold_texts("moods", VERSION, texts("ab"), values)
