"""`ft30 serve`: checked through HTTP before it answers, batched without another answer, swapped while it answers."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from finetune30.data.questions import Asked
from finetune30.errors import NotFoundError, SelfTestError
from finetune30.service.serving.batcher import Limits
from finetune30.service.serving.slots import Refused
from finetune30.store.access import Role, create_key
from support.kinds import KINDS, KindsLab
from support.patience import wait_until
from support.serving_lab import ServingLab, serve_lab

pytestmark = pytest.mark.integration

TEXTS = [text for text, _ in KINDS["single-label"].rows()]


@pytest.fixture(scope="module")
def folder(kinds_lab: KindsLab) -> Path:
    """Two versions of a classifier and one of a regression; the first of each is in production."""
    kinds_lab.train(KINDS["single-label"], "less-learnt", num_train_epochs=4)
    for run, model in (("single-label", "moods"), ("less-learnt", "moods"), ("regression", "scores")):
        kinds_lab.ft30("models", "register", run, model)
    for model in ("moods", "scores"):
        kinds_lab.ft30("models", "promote", model, "1", "--to", "production", "--reason", "a start")
    return kinds_lab.folder


@pytest.fixture
def lab(folder: Path) -> Iterator[ServingLab]:
    with serve_lab(folder, "moods@production", "scores@production") as found:
        yield found


def test_nothing_answers_before_it_was_checked_through_http(lab: ServingLab) -> None:
    assert httpx.get(f"{lab.address}/healthz").status_code == 200
    assert httpx.get(f"{lab.address}/readyz").status_code == 503
    early = httpx.post(f"{lab.address}/predict/moods", json={"texts": ["it is"]})
    assert (early.status_code, early.json()["error"]) == (503, "service_unavailable")
    lab.watcher.look()
    ready = httpx.get(f"{lab.address}/readyz").json()
    assert [(one["name"], one["state"], one["version"]) for one in ready["models"]] == [
        ("moods@production", "READY", 1),
        ("scores@production", "READY", 1),
    ]
    counted = httpx.get(f"{lab.address}/metrics").text
    assert 'ft30_served_version{name="moods@production"} 1.0' in counted
    assert 'ft30_rows_total{model="moods",version="1"} 24.0' in counted  # the check itself: 12 in one batch, and alone


def test_every_answer_names_version_and_truncation(lab: ServingLab) -> None:
    lab.watcher.look()
    found = lab.predict("moods", ["the film was great great slow", " ".join(["slow"] * 40), " "])
    version = lab.serving.slots.find("moods").version
    assert (found["model"], found["version"], found["adapter_sha256"]) == ("moods", 1, version.adapter_sha256)
    short, long, blank = found["answers"]
    assert (short["labels"], short["truncated"], short["tokens"], short["max_tokens"]) == (["zest"], False, 8, 24)
    assert (long["truncated"], long["tokens"]) == (True, 42)
    assert blank["no_answer"]["code"] == "no_tokens"
    (scored,) = lab.predict("scores@production", ["the film was great great slow"])["answers"]
    assert abs(scored["value"] - 2.5) < 1.0
    unknown = httpx.post(f"{lab.address}/predict/others", json={"texts": ["a"]})
    assert (unknown.status_code, unknown.json()["remedy"]) == (404, "name one of these")
    half = httpx.post(f"{lab.address}/predict/moods", content=rb'{"texts": ["\ud800"]}', headers=JSON)
    assert (half.status_code, half.json()["error"]) == (422, "data_error")
    httpx.post(f"{lab.address}/predict/moods", json={})
    httpx.get(f"{lab.address}/readyz", headers={"Host": "elsewhere"})
    counted = httpx.get(f"{lab.address}/metrics").text
    for reason in ("not_found", "data_error", "request_invalid", "host_refused"):
        assert f'ft30_refused_requests_total{{reason="{reason}"}} 1.0' in counted


JSON = {"Content-Type": "application/json"}


def test_each_of_many_gets_its_own_answer_and_the_one_it_gets_alone(lab: ServingLab) -> None:
    lab.watcher.look()
    alone = {text: lab.predict("moods", [text])["answers"][0] for text in TEXTS}

    def ask(number: int) -> None:
        texts = [TEXTS[(number + place) % len(TEXTS)] for place in range(1 + number % 5)]
        for text, answer in zip(texts, lab.predict("moods", texts)["answers"], strict=True):
            assert answer["text"] == text
            for label, share in alone[text]["probabilities"].items():
                assert abs(answer["probabilities"][label] - share) < 1e-4

    with ThreadPoolExecutor(16) as callers:
        list(callers.map(ask, range(200)))


def test_another_version_is_swapped_in_while_callers_are_answered(lab: ServingLab) -> None:
    """Whoever asks is answered by a version that was under the alias, and gets that version's answer."""
    lab.watcher.look()
    text, former = TEXTS[0], parts_of(lab.serving.slots.find("moods"))
    wanted = {1: lab.predict("moods", [text])["answers"][0]["probabilities"]}
    stop, wrong, seen = threading.Event(), [], set()

    def keep_asking() -> None:
        while not stop.is_set():
            found = lab.predict("moods", [text])
            seen.add(found["version"])
            shares = found["answers"][0]["probabilities"]
            known = wanted.setdefault(found["version"], shares)
            if any(abs(shares[label] - known[label]) > 1e-4 for label in known):
                wrong.append((found["version"], shares, known))

    with ThreadPoolExecutor(4) as callers:
        asking = [callers.submit(keep_asking) for _ in range(4)]
        lab.move("moods", 2)
        lab.watcher.look()
        assert lab.predict("moods", [text])["version"] == 2
        lab.move("moods", 1)
        lab.watcher.look()
        stop.set()
        for one in asking:
            one.result()
    assert wrong == []
    assert seen == {1, 2}
    assert wanted[1] != wanted[2]
    assert lab.predict("moods", [text])["version"] == 1
    former += parts_of(lab.serving.slots.find("moods"))
    lab.move("moods", 2)
    lab.watcher.look()
    lab.predict("moods", [text])
    lab.move("moods", 1)
    lab.watcher.look()
    lab.predict("moods", [text])
    wait_until(lambda: not any(part() for part in former), 30, "nothing holds the versions that were swapped out")


def parts_of(loaded: Any) -> list[weakref.ref[Any]]:
    """Follow what memory a loaded version takes, but for the base that versions share."""
    served = loaded.texts.served
    return [weakref.ref(part) for part in (loaded, loaded.texts, served, served._packed or served._padded)]


def test_a_version_that_fails_its_check_leaves_the_old_one_answering(
    lab: ServingLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is loaded for version 2 is the model of version 1, as a mix-up of caches would give."""
    lab.watcher.look()
    first = lab.serving.slots.find("moods").texts
    lab.move("moods", 2)
    load = type(lab.loading).load
    monkeypatch.setattr(
        lab.watcher, "_load", lambda version, generation: _with(load(lab.loading, version, generation), first)
    )
    lab.watcher.look()
    told = httpx.get(f"{lab.address}/readyz").json()["models"][0]
    assert (told["state"], told["version"], told["refused"]["version"]) == ("SWAP_REFUSED", 1, 2)
    assert "asked through HTTP in one batch, it answers otherwise" in told["refused"]["why"]
    assert lab.predict("moods", [TEXTS[0]])["version"] == 1
    assert 'ft30_swaps_total{name="moods@production",outcome="refused"} 1.0' in httpx.get(f"{lab.address}/metrics").text
    lab.move("moods", 1)
    lab.watcher.look()
    assert httpx.get(f"{lab.address}/readyz").json()["models"][0]["state"] == "READY"


def _with(loaded: Any, texts: Any) -> Any:
    from dataclasses import replace

    return replace(loaded, texts=texts)


def test_a_first_version_that_is_not_its_reference_does_not_serve(folder: Path, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(folder, tmp_path / "other")
    found = next((tmp_path / "other/results/registry/moods/v1").rglob("serving_reference.parquet"))
    found.write_bytes(b"x")
    with (
        serve_lab(tmp_path / "other", "moods:1") as lab,
        pytest.raises(Exception, match="not the one of its certificate"),
    ):
        lab.watcher.look()
    with serve_lab(folder, "nothing@production") as lab, pytest.raises(NotFoundError):
        lab.watcher.look()
    assert SelfTestError.exit_code == 1


class Stuck:
    """A model that does not answer before it is let go; the rest is the real one's."""

    def __init__(self, model: Any) -> None:
        self._model, self.go, self.begun = model, threading.Event(), threading.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def logits(self, rows: Any) -> Any:
        self.begun.set()
        self.go.wait()
        return self._model.logits(rows)


def test_a_full_queue_is_answered_429_and_a_late_answer_504(folder: Path) -> None:
    with serve_lab(folder, "moods@production", limits=Limits(queue_rows=2, batch_rows=1, deadline=2.0)) as lab:
        lab.watcher.look()
        slot = lab.serving.slots.slots[0]
        assert slot.live is not None
        stuck = Stuck(slot.live.texts)
        slot.live = _with(slot.live, stuck)
        with ThreadPoolExecutor(4) as callers:
            asked = [callers.submit(_ask, lab, 1)]
            assert stuck.begun.wait(30)
            asked += [callers.submit(_ask, lab, 1) for _ in range(2)]
            wait_until(lambda: lab.serving.batcher.waiting == 2, 30, "two rows wait")
            full = _ask(lab, 1)
            assert (full.status_code, full.json()["error"], "Retry-After" in full.headers) == (
                429,
                "quota_exceeded",
                True,
            )
            assert full.json()["remedy"].endswith("or start the server with a longer --max_queue_rows")
            late = [one.result() for one in asked]
            stuck.go.set()
        assert [one.status_code for one in late] == [504] * 3
        assert {one.json()["error"] for one in late} == {"deadline_exceeded"}
        assert "start with --deadline" in late[0].json()["remedy"]
        assert _ask(lab, 2).status_code == 200


def _ask(lab: ServingLab, count: int) -> httpx.Response:
    return httpx.post(f"{lab.address}/predict/moods", json={"texts": TEXTS[:count]}, timeout=60)


def test_pairs_are_not_asked_of_a_model_of_single_texts(lab: ServingLab) -> None:
    lab.watcher.look()
    body = {"texts": ["it is"], "text_pairs": ["slow"]}
    refused = httpx.post(f"{lab.address}/predict/moods", json=body)
    assert (refused.status_code, refused.json()["remedy"]) == (422, "leave text_pairs out")
    live = lab.serving.slots.slots[0].live
    assert live is not None
    assert live.texts is not None
    lab.serving.slots.slots[0].live = _with(live, Pairs(live.texts))
    single = httpx.post(f"{lab.address}/predict/moods", json={"texts": ["it is"]})
    assert (single.status_code, single.json()["remedy"]) == (422, "give text_pairs, as many as texts")


class Pairs:
    """The same model, as if it had been trained on pairs."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self.asked = Asked(model.asked.roles, {"text": "premise", "text_pair": "hypothesis"})

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)


class Unsound(Pairs):
    """A model whose numbers are none."""

    def __init__(self, model: Any) -> None:
        self._model = model

    def logits(self, rows: Any) -> Any:
        return self._model.logits(rows) * float("nan")


def test_numbers_that_are_not_finite_are_no_answer(lab: ServingLab) -> None:
    lab.watcher.look()
    live = lab.serving.slots.slots[0].live
    assert live is not None
    lab.serving.slots.slots[0].live = _with(live, Unsound(live.texts))
    failed = httpx.post(f"{lab.address}/predict/moods", json={"texts": ["it is"]}, timeout=60)
    assert (failed.status_code, failed.json()["error"]) == (500, "not_finite")
    assert lab.predict("scores@production", ["it is"])["version"] == 1


def test_a_server_whose_thread_has_ended_is_not_ready(lab: ServingLab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.watcher.look()
    assert httpx.get(f"{lab.address}/readyz").status_code == 200
    monkeypatch.setattr(lab.serving.batcher, "_answer_next", lambda: False)
    lab.predict("moods", [TEXTS[0]])  # it ends after this one
    wait_until(lambda: httpx.get(f"{lab.address}/readyz").status_code == 503, 30, "it says so")


def test_a_key_of_a_caller_asks_and_nothing_else(folder: Path, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(folder, tmp_path / "keys")
    with serve_lab(tmp_path / "keys", "moods@production") as lab:
        create_key(lab.records.store, "admin", Role.ADMIN)
        _, caller = create_key(lab.records.store, "app", Role.CALLER)
        _, viewer = create_key(lab.records.store, "eyes", Role.VIEWER)
        lab.watcher.look()  # the server's own key still opens it
        wait_until(lambda: httpx.get(f"{lab.address}/metrics").status_code == 401, 30, "keys are in use")
        said = {
            (who, path): httpx.request(
                "POST" if "predict" in path else "GET",
                lab.address + path,
                json={"texts": ["it is"]} if "predict" in path else None,
                headers={"Authorization": f"Bearer {key}"},
            ).status_code
            for who, key in (("caller", caller), ("viewer", viewer))
            for path in ("/predict/moods", "/v1/models", "/v1/models/moods", "/metrics")
        }
        slot = lab.serving.slots.slots[0]
        lab.serving.slots.refuse(slot, Refused(2, 1, "the file /somewhere is gone", None))
        told = {
            who: httpx.get(f"{lab.address}/readyz", headers={"Authorization": f"Bearer {key}"}).json()["models"][0]
            for who, key in (("caller", caller), ("viewer", viewer), ("nobody", "x"))
        }
    assert {who: "why" in one["refused"] for who, one in told.items()} == {
        "caller": False,
        "viewer": True,
        "nobody": False,
    }
    assert said == {
        ("caller", "/predict/moods"): 200,
        ("caller", "/v1/models"): 200,
        ("caller", "/v1/models/moods"): 404,  # it is no language model
        ("caller", "/metrics"): 403,
        ("viewer", "/predict/moods"): 403,
        ("viewer", "/v1/models"): 403,
        ("viewer", "/v1/models/moods"): 403,
        ("viewer", "/metrics"): 200,
    }


def test_the_command_serves_follows_the_alias_and_drains(kinds_lab: KindsLab, folder: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "finetune30", "serve", "moods@production", "--port", str(port)]
    address = f"http://127.0.0.1:{port}"
    server = subprocess.Popen(command, cwd=folder, env=dict(os.environ), stderr=subprocess.PIPE, text=True)
    try:
        wait_until(lambda: _version(address) == 1, 120, "the server is ready")
        taken = kinds_lab.server.run("serve", "moods@production", "--port", str(port), cwd=folder)
        assert taken.returncode == 1
        assert "or choose another: ft30 serve NAME --port 8101" in taken.stderr
        kinds_lab.ft30("models", "promote", "moods", "2", "--to", "production", "--reason", "another")
        wait_until(lambda: _version(address) == 2, 120, "the alias is followed")
        with ThreadPoolExecutor(8) as callers:
            body = {"texts": TEXTS}
            asked = [callers.submit(httpx.post, f"{address}/predict/moods", json=body, timeout=60) for _ in range(8)]
            wait_until(lambda: any(one.done() for one in asked), 60, "answers come")
            server.send_signal(signal.SIGTERM)
            wait_until(
                lambda: httpx.get(f"{address}/readyz").json()["draining"], 30, "it says that it is being stopped"
            )
            refused = httpx.post(f"{address}/predict/moods", json=body)
            assert (refused.status_code, refused.json()["message"]) == (503, "the server is being stopped")
            answered = [one.result() for one in asked if one.exception() is None]
        assert server.wait(60) == 0
        assert {one.status_code for one in answered} <= {200, 503}
        assert all(one.json()["version"] == 2 for one in answered if one.status_code == 200)
    finally:
        server.kill()
        server.communicate()
        kinds_lab.ft30("models", "rollback", "moods", "production", "--reason", "for the others")


def _version(address: str) -> int | None:
    try:
        answer = httpx.get(f"{address}/readyz")
    except httpx.TransportError:
        return None
    found: int = answer.json()["models"][0].get("version") if answer.status_code == 200 else 0
    return found
