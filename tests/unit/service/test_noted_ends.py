"""How a process of a training that is gone is described by those that remain."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from finetune30.service.execution.noted_ends import NOTES_VARIABLE, describe_peer
from finetune30.store.process_identity import host_prefix


def test_the_note_of_a_process_that_was_just_killed_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(NOTES_VARIABLE, str(tmp_path))
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    owner = f"{host_prefix()}{child.pid}:1"
    late = threading.Timer(0.3, (tmp_path / str(child.pid)).write_text, [signal.SIGKILL.name])
    late.start()
    assert describe_peer(owner).endswith(
        f"process {child.pid} on {owner.partition(':')[0]}, ended by SIGKILL (often: out of memory)"
    )
    late.join()


def test_a_process_that_lives_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(NOTES_VARIABLE, str(tmp_path))
    assert describe_peer("another-host:boot:4711:1") == "process 4711 on another-host"
