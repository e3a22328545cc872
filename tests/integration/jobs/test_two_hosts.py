"""Workers on two machines: own host names and own networks, one PostgreSQL, one Redis, one results folder."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from finetune30.store import RunStatus
from finetune30.store.workers import load_workers
from support.event_checker import check
from support.patience import patient, wait_until
from support.present import present
from support.run_store_lab import new_postgresql_database, postgresql_server
from support.services import Services, redis_program

pytestmark = pytest.mark.integration


def run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, timeout=600)


@contextmanager
def two_networks() -> Iterator[tuple[str, str]]:
    """Two network namespaces joined by a cable; yields their names. 10.230.17.1 is in the first one."""
    if sys.platform != "linux" or os.geteuid() != 0 or not (shutil.which("ip") and shutil.which("unshare")):
        pytest.skip("network namespaces need Linux, root, iproute2 and unshare")
    names = tuple(f"ft30-{os.getpid()}-{letter}" for letter in "ab")
    try:
        for name in names:
            run("ip", "netns", "add", name)
        run("ip", "link", "add", "ft30a", "netns", names[0], "type", "veth", "peer", "ft30b", "netns", names[1])
        for number, (name, cable) in enumerate(zip(names, ("ft30a", "ft30b"), strict=True), start=1):
            run("ip", "-n", name, "addr", "add", f"10.230.17.{number}/24", "dev", cable)
            for device in ("lo", cable):
                run("ip", "-n", name, "link", "set", device, "up")
    except subprocess.CalledProcessError as error:
        for name in names:
            subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)
        pytest.skip(f"network namespaces cannot be made here: {error.stderr!r}")
    try:
        yield names  # type: ignore[misc]
    finally:
        for name in names:
            run("ip", "netns", "del", name)


def on_host(network: str, host: str) -> list[str]:
    """The words before a command that put it on a host of its own."""
    return ["ip", "netns", "exec", network, "unshare", "--uts", "sh", "-c", f'hostname {host}; exec "$@"', "sh"]


def test_worker_of_another_host_takes_over_when_a_host_vanishes(tmp_path):
    with postgresql_server() as server, two_networks() as (first, second):
        services = Services(tmp_path, new_postgresql_database(server))
        redis_url = f"redis://10.230.17.1:{services.port}"
        address: dict[str, Any] = {"FT30_REDIS_URL": f"{redis_url}/0", "FT30_RESULT_BACKEND_URL": f"{redis_url}/1"}
        redis = subprocess.Popen(
            [
                *on_host(first, "alpha"),
                redis_program(),
                "--port",
                str(services.port),
                "--protected-mode",
                "no",
                "--save",
                "",
            ],
            stdout=subprocess.DEVNULL,
        )
        try:
            services.start_worker("alpha", drill=0.2, prefix=on_host(first, "alpha"), **address)
            run_id = services.submit(steps=60).run.id
            wait_until(lambda: (services.store.get(run_id).progress or {}).get("step", 0) >= 2, 60, "steps on alpha")
            assert (services.store.get(run_id).lease_owner or "").startswith("alpha:")
            services.start_worker("beta", drill=0.02, prefix=on_host(second, "beta"), **address)
            services.wait_for_worker("beta")
            both = {"alpha", "beta"}
            wait_until(lambda: {worker.node for worker in load_workers(services.store)} == both, 30, "both are seen")
            services.kill_worker("alpha")
            gone_at = time.monotonic()
            done = services.wait_for(run_id, RunStatus.SUCCEEDED, seconds=60)
            assert time.monotonic() - gone_at < patient(15)  # a lease of 3 s, a look every second
            claims = [
                present(event.owner).partition(":")[0]
                for event in services.store.events(run_id)
                if event.kind == "claimed"
            ]
            assert claims == ["alpha", "beta"]
            assert present(done.metrics)["resumed_from"] >= 2
            verdict = check(services.settings.resolved_database_url, Path(services.settings.results_folder), [run_id])
            assert verdict.breaches == []
        finally:
            services.close()
            redis.kill()
            redis.wait()
