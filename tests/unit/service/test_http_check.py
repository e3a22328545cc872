"""What a server answers through HTTP is held against the serving reference by its numbers alone."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest

from finetune30.errors import SelfTestError
from finetune30.service.serving.http_check import HttpCheck

_VERSION: Any = SimpleNamespace(name="reviews:7", number=7, adapter_sha256="4b42")
_ROWS = pl.DataFrame({"text": ["a"], "text_pair": [None]})


class _Server(http.server.BaseHTTPRequestHandler):
    answer: dict[str, Any]

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        body = json.dumps({"version": 7, "adapter_sha256": "4b42", "answers": [self.answer]}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def check() -> Iterator[HttpCheck]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Server) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield HttpCheck("127.0.0.1", server.server_address[1], "key")
        server.shutdown()


def _answer(first: float, **decided: Any) -> dict[str, Any]:
    return {"probabilities": {"a": first, "b": round(1 - first, 6)}, **decided}


_GIVEN = _answer(0.25, labels=["a"], confidence=0.25)
_WITHHELD = _answer(0.250001, no_answer={"code": "not_sure", "message": "…"}, confidence=0.749999)


@pytest.mark.parametrize(("wanted", "given"), [(_GIVEN, _WITHHELD), (_WITHHELD, _GIVEN)])
def test_a_row_at_a_threshold_may_be_decided_otherwise(
    check: HttpCheck, wanted: dict[str, Any], given: dict[str, Any]
) -> None:
    _Server.answer = given
    check.hold_texts("reviews", _VERSION, _ROWS, [wanted])


@pytest.mark.parametrize(
    ("wanted", "given"),
    [
        (_GIVEN, _answer(0.26, labels=["a"], confidence=0.26)),
        (_GIVEN, {"labels": ["a"], "confidence": 0.25}),
        (_GIVEN, {"no_answer": {"code": "no_tokens", "message": "…"}}),
        ({"value": 2.0}, {"value": 2.1}),
        ({"value": 2.0}, {"value": None}),
    ],
)
def test_other_numbers_are_refused(check: HttpCheck, wanted: dict[str, Any], given: dict[str, Any]) -> None:
    _Server.answer = given
    with pytest.raises(SelfTestError, match=r"reviews:7: asked through HTTP in one batch, it answers otherwise"):
        check.hold_texts("reviews", _VERSION, _ROWS, [wanted])
