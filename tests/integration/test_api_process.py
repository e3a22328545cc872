"""The API as a process: `ft30 api`, the documented curl lines, and requests made up from its own OpenAPI document."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from support.patience import patient

pytestmark = pytest.mark.integration

CHECKS = "not_a_server_error,response_schema_conformance,status_code_conformance,content_type_conformance"


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {**os.environ, "FT30_REDIS_URL": "redis://localhost:1/0", "FT30_DISK_RESERVE_BYTES": "0"}
    with (tmp_path / "api.log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "finetune30", "api", "--port", str(port)], stdout=log, stderr=log, env=environment
        )
        try:
            yield _wait_for(f"http://localhost:{port}", process, tmp_path / "api.log")
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=600) in (0, -signal.SIGTERM), (tmp_path / "api.log").read_text()
    assert "Traceback" not in (tmp_path / "api.log").read_text()


def _wait_for(address: str, process: subprocess.Popen[bytes], log: Path) -> str:
    for _ in range(3000):
        try:
            httpx.get(f"{address}/readyz").raise_for_status()
        except httpx.HTTPError:
            assert process.poll() is None, log.read_text()
            time.sleep(0.2)
        else:
            return address
    raise AssertionError(f"the API did not come up:\n{log.read_text()}")


def test_documented_requests_work_while_redis_is_down(address):
    began = time.monotonic()
    body = {"experiment_name": "test_async", "epochs": 1}
    answer = httpx.post(f"{address}/train", json=body, timeout=600)
    assert time.monotonic() - began < patient(3)
    task = httpx.get(f"{address}/task/{answer.json()['task_id']}").json()
    assert (answer.status_code, task["status"]) == (202, "QUEUED")
    listed = httpx.get(f"{address}/experiments?min_accuracy=0.8&sort_by=eval_accuracy&desc=true")
    assert listed.json()["experiments"] == []
    assert 'ft30_runs{status="QUEUED"} 1.0' in httpx.get(f"{address}/metrics").text


def test_made_up_requests_meet_no_server_error(address, tmp_path):
    # 502 is an answer: the hub is out of reach here, and its data sets are not cached.
    (tmp_path / "schemathesis.toml").write_text(
        '[checks.not_a_server_error]\nexpected-statuses = ["2xx", "3xx", "4xx", "502"]\n'
    )
    command = [sys.executable, "-c", "from schemathesis.cli import schemathesis; schemathesis()"]
    command += ["--config-file", str(tmp_path / "schemathesis.toml"), "run"]
    options = ["--phases", "examples,fuzzing", "--max-examples", "3", "--seed", "30", "--suppress-health-check", "all"]
    url = f"{address.replace('localhost', '127.0.0.1')}/openapi.json"
    done = subprocess.run([*command, url, *options, "--checks", CHECKS], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Fuzzing" in done.stdout
