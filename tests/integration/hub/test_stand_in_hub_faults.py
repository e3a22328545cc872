"""The stand-in for the hub, driven by the real client: every fault reaches it as it should."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import httpx
import pytest

from support.hub_client import Running
from support.stand_in_hub import (
    CaptivePage,
    Compressed,
    CutBody,
    Delay,
    Fault,
    HangUp,
    Repository,
    StandInHub,
    Trickle,
    WrongContent,
    WrongLength,
    entry_missing,
    forbidden,
    repository_missing,
    revision_missing,
    server_error,
    too_many_requests,
    unauthorized,
)

pytestmark = pytest.mark.integration

DISTILBERT = "distilbert/distilbert-base-uncased"
SNAPSHOT = f"snapshot_download('{DISTILBERT}', allow_patterns=['config.json', '*.safetensors'], cache_dir=cache)"
CONFIG = f"hf_hub_download('{DISTILBERT}', 'config.json', cache_dir=cache)"
WEIGHTS = f"hf_hub_download('{DISTILBERT}', 'model.safetensors', cache_dir=cache)"
INFO = f"HfApi().model_info('{DISTILBERT}').sha"
#: What the client waits before each of its five further tries.
BACKOFF = [1, 2, 4, 8, 8]


@pytest.mark.parametrize(
    ("fault", "expression", "error", "message", "waits"),
    [
        (unauthorized(), INFO, "HfHubHTTPError", "Invalid credentials in Authorization header", []),
        (unauthorized(), SNAPSHOT, "HfHubHTTPError", "Invalid credentials in Authorization header", []),
        (forbidden(), INFO, "HfHubHTTPError", "403 Forbidden", []),
        (forbidden(), SNAPSHOT, "LocalEntryNotFoundError", "403 Forbidden", []),
        (repository_missing(), SNAPSHOT, "RepositoryNotFoundError", "404 Client Error", []),
        (revision_missing(), SNAPSHOT, "RevisionNotFoundError", "Invalid rev id: main", []),
        (entry_missing(), CONFIG, "RemoteEntryNotFoundError", "Entry Not Found", []),
        (too_many_requests(7), INFO, "HfHubHTTPError", "your 'api' rate limit.\nRetry after 7 seconds (0/500", []),
        (too_many_requests(7), CONFIG, "LocalEntryNotFoundError", "", [8.0] * 5),
        (too_many_requests(3, hub_headers=False), CONFIG, "LocalEntryNotFoundError", "", [4.0] * 5),
        (too_many_requests(hub_headers=False, retry_after=False), CONFIG, "LocalEntryNotFoundError", "", BACKOFF),
        (server_error(500), CONFIG, "LocalEntryNotFoundError", "", BACKOFF),
        (server_error(502), INFO, "HfHubHTTPError", "502 Bad Gateway", []),
        (server_error(503), SNAPSHOT, "LocalEntryNotFoundError", "503 Service Unavailable", []),
        (HangUp(), INFO, "RemoteProtocolError", "Server disconnected without sending a response", []),
        (HangUp(), CONFIG, "RemoteProtocolError", "Server disconnected without sending a response", []),
        (CutBody(), INFO, "RemoteProtocolError", "peer closed connection without sending complete", []),
        (CutBody(), WEIGHTS, "RemoteProtocolError", "peer closed connection without sending complete", [1] * 5),
        (WrongLength(5), WEIGHTS, "RemoteProtocolError", "peer closed connection without sending complete", [1] * 5),
        (WrongLength(-5), CONFIG, "OSError", "Consistency check failed", []),
        (WrongLength(-5), WEIGHTS, "OSError", "Consistency check failed", []),
        (CaptivePage(), INFO, "JSONDecodeError", "Expecting value", []),
        (CaptivePage(redirects=True), INFO, "JSONDecodeError", "Expecting value", []),
        (CaptivePage(), CONFIG, "LocalEntryNotFoundError", "missing the 'X-Repo-Commit' header", []),
        (CaptivePage(redirects=True), CONFIG, "LocalEntryNotFoundError", "missing the 'X-Repo-Commit' header", []),
    ],
)  # fmt: skip
def test_fault_reaches_the_client_until_it_is_mended(
    running: Running, fault: Fault, expression: str, error: str, message: str, waits: list[float]
) -> None:
    running.hub.fail(fault)
    outcome = running.run(expression)
    assert (outcome.error, outcome.waits) == (error, waits), outcome
    assert message in outcome.message
    running.hub.mend()
    assert not running.run(expression).error


def test_fault_counts_only_the_requests_that_it_is_for(running: Running) -> None:
    running.hub.fail(server_error(503), repo=DISTILBERT, file="config.json", times=2)
    assert running.run("HfApi().model_info('roberta-base').id").value == "FacebookAI/roberta-base"
    outcome = running.run(CONFIG.replace(DISTILBERT, "distilbert-base-uncased"))
    assert not outcome.error
    assert outcome.waits == [1]
    assert [status for _, _, status in running.asked("resolve")] == [503, 503, 307, 200, 200]


def test_cut_body_is_resumed_by_a_range_where_the_client_kept_a_part(running: Running) -> None:
    content = os.urandom(1024) * 13_000
    running.hub.add(Repository("models", "team/large", {"model.safetensors": content}))
    running.hub.fail(CutBody(after_bytes=11_000_000), action="cdn", times=1)
    outcome = running.run("hf_hub_download('team/large', 'model.safetensors', cache_dir=cache)")
    assert Path(outcome.value).read_bytes() == content
    # Ten MiB a piece: what came of the second piece was thrown away.
    assert [request.range for request in running.hub.requests if request.action == "cdn"] == [None, "bytes=10485760-"]
    running.hub.forget_requests()
    running.hub.fail(CutBody(share=0.9), file="config.json", times=1)
    assert running.run(CONFIG).waits == [1]
    assert [request.range for request in running.hub.requests if request.method == "GET"] == [None, None]


def test_wrong_content_of_the_right_length_goes_unnoticed_by_the_client(running: Running) -> None:
    running.hub.fail(WrongContent(), file="model.safetensors")
    outcome = running.run(WEIGHTS)
    stored, right = Path(outcome.value).read_bytes(), running.hub.content("models", DISTILBERT, "model.safetensors")
    assert len(stored) == len(right)
    assert stored != right
    assert Path(outcome.value).resolve().name == hashlib.sha256(right).hexdigest()


def test_compressed_content_tells_no_length_and_arrives_whole(running: Running) -> None:
    running.hub.fail(Compressed(), file="vocab.txt")
    address = f"{running.hub.endpoint}/{DISTILBERT}/resolve/main/vocab.txt"
    content = running.hub.content("models", DISTILBERT, "vocab.txt")
    answer = httpx.get(address)
    assert (answer.content, answer.headers["Content-Encoding"]) == (content, "gzip")
    assert "Content-Length" not in answer.headers
    assert Path(running.run(CONFIG.replace("config.json", "vocab.txt")).value).read_bytes() == content


def test_slow_answers_come_late_and_in_pieces(hub: StandInHub) -> None:
    address = f"{hub.endpoint}/{DISTILBERT}/resolve/main/vocab.txt"
    hub.fail(Delay(600), times=1)
    with pytest.raises(httpx.ReadTimeout):
        httpx.get(address, timeout=0.5)
    hub.fail(Delay(0.2), times=1)
    answer = httpx.get(address)
    assert (answer.status_code, answer.elapsed.total_seconds() >= 0.2) == (200, True)
    hub.fail(Trickle(part_bytes=100, pause_seconds=0.01), times=1)
    with httpx.stream("GET", address) as answer:
        parts = list(answer.iter_raw())
    assert b"".join(parts) == hub.content("models", DISTILBERT, "vocab.txt")
    assert len(parts) > 1


def test_stopped_hub_refuses_and_serves_again_on_the_same_port(hub: StandInHub) -> None:
    address = f"{hub.endpoint}/api/models/roberta-base"
    with httpx.Client(follow_redirects=True) as client:
        assert client.get(address).status_code == 200
        hub.stop()
        for _ in range(2):
            with pytest.raises(httpx.TransportError):
                client.get(address)
        hub.start()
        assert client.get(address).status_code == 200
