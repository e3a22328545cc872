"""A hub that cannot be reached is noticed once, not asked again and again."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.integration

LOAD = """
from finetune30.data.sources.hub import load_hub
from finetune30.errors import HubUnavailableError
try:
    load_hub("glue", "sst2", None, print)
except HubUnavailableError as error:
    print(error.message)
"""


def test_unreachable_hub_is_not_retried_when_nothing_is_cached() -> None:
    environment = {key: value for key, value in os.environ.items() if key != "HF_HUB_OFFLINE"}
    environment["HF_ENDPOINT"] = "http://127.0.0.1:9"  # nothing listens there
    done = subprocess.run(
        [sys.executable, "-c", LOAD], env=environment, capture_output=True, text=True, check=True, timeout=600
    )
    assert "'glue' is not cached on this machine and the hub cannot be reached" in done.stdout
    assert "Retrying" not in done.stderr
