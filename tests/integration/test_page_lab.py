"""Benchmarks of the page stop with the reason when a service that they measure ends."""

from __future__ import annotations

import os
from pathlib import Path

import httpx
import psutil
import pytest
from benchmarks.page_lab import ServiceEndedError, free_port, running, running_service

pytestmark = pytest.mark.integration


def test_service_that_cannot_start_is_told_with_what_it_wrote(tmp_path: Path) -> None:
    with (
        pytest.raises(ServiceEndedError, match=r"(?s)ft30 api ended by itself with code 2.*no-such-option"),
        running_service(tmp_path, "api", "/readyz", "--no-such-option"),
    ):
        pytest.fail("nothing may be measured without the service")


def test_service_that_dies_while_it_is_measured_is_told_although_the_measuring_ended_well(tmp_path: Path) -> None:
    with pytest.raises(ServiceEndedError, match=r"(?s)ft30 ui ended by itself with code -9"):
        _kill_a_page(tmp_path)


def _kill_a_page(folder: Path) -> None:
    port = free_port()
    alive = f"http://127.0.0.1:{port}/_stcore/health"
    with running(folder, ["ui", "--port", str(port), "--api-url", "http://127.0.0.1:9"], [alive]):
        assert httpx.get(alive, timeout=60).text == "ok"
        (page,) = [child for child in psutil.Process().children() if str(port) in " ".join(child.cmdline())]
        page.kill()
        os.waitid(os.P_PID, page.pid, os.WEXITED | os.WNOWAIT)  # its code is left to whom it belongs
