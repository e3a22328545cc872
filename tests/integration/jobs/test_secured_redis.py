"""Redis behind a password and TLS: publishing, working, `ft30 services`; refusals that say what is wrong."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from finetune30.errors import ServiceUnavailableError
from finetune30.jobs.redis_server import is_redis_up
from finetune30.store import RunStatus
from support.patience import wait_until
from support.services import Services, free_port, redis_program
from support.tls_front import tls_front

pytestmark = pytest.mark.integration

PASSWORD = "p@ss:word/1"
WRITTEN = "p%40ss%3Aword%2F1"


@pytest.fixture
def secured(tmp_path: Path) -> Iterator[tuple[int, Path]]:
    """The TLS port of a Redis that wants a password, and the certificate."""
    port = free_port()
    command = [redis_program(), "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--requirepass", PASSWORD]
    redis = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        wait_until(lambda: is_redis_up(f"redis://:{WRITTEN}@127.0.0.1:{port}/0"), 20, "Redis answers")
        with tls_front(tmp_path, port) as front:
            yield front
    finally:
        redis.kill()
        redis.wait()


def test_runs_are_carried_out_over_tls_with_a_password(tmp_path, secured):
    port, certificate = secured
    address = f"rediss://:{WRITTEN}@localhost:{port}/{{}}?ssl_ca_certs={certificate}"
    assert is_redis_up(address.format(0))
    services = Services(
        tmp_path, redis_url=address.format(0), result_backend_url=address.format(1), reconcile_seconds=600.0
    )  # nobody looks without a message within this test
    try:
        services.start_worker(drill=0)
        services.wait_for_worker()
        done = services.submit(steps=1)
        assert done.published, done.notes
        services.wait_for(done.run.id, RunStatus.SUCCEEDED, seconds=30)
        assert PASSWORD not in (log := (tmp_path / "worker-one.log").read_text())
        assert WRITTEN not in log
    finally:
        services.close()


def test_refused_login_and_certificate_are_told_without_the_password(secured):
    port, certificate = secured
    for address, what in (
        (f"rediss://:{WRITTEN}@localhost:{port}/0", "certificate"),
        (f"rediss://:wrong@localhost:{port}/0?ssl_ca_certs={certificate}", "login"),
        (f"rediss://localhost:{port}/0?ssl_ca_certs={certificate}", "login"),
    ):
        with pytest.raises(ServiceUnavailableError, match=what) as error:
            is_redis_up(address)
        assert WRITTEN not in str(error.value.as_dict())


def test_authority_user_and_password_are_named_as_the_refusals_say(secured: tuple[int, Path]) -> None:
    port, certificate = secured

    def refusal(address: str) -> str:
        with pytest.raises(ServiceUnavailableError) as caught:
            is_redis_up(address)
        return str(caught.value.remedy)

    assert refusal(f"rediss://localhost:{port}/0") == (
        "name its authority in FT30_REDIS_URL and FT30_RESULT_BACKEND_URL: …/0?ssl_ca_certs=FILE"
    )
    trusted = f"localhost:{port}/0?ssl_ca_certs={certificate}"
    assert refusal(f"rediss://{trusted}") == (
        "put user (else: default) and password, percent-encoded, into FT30_REDIS_URL and FT30_RESULT_BACKEND_URL: "
        "redis://user:password@host:6379/0"
    )
    user, password = "default", quote(PASSWORD, safe="")
    assert is_redis_up(f"rediss://{user}:{password}@{trusted}")
