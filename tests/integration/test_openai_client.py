"""The openai package against `ft30 serve`: what its users read is there, and faults are its own errors."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from support import openai_peer
from support.serving_lab import serve_lab
from support.talk_lab import TalkLab

_CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
PEER = _CACHE / "finetune30/peers/openai/bin/python"

pytestmark = [
    pytest.mark.integration,
    pytest.mark.peers,
    pytest.mark.skipif(not PEER.is_file(), reason="the openai package is not installed (make install-peers)"),
]


TRAINED = {"training.num_train_epochs": 1}


@pytest.fixture(scope="module")
def found(fork_server, tmp_path_factory: pytest.TempPathFactory) -> Any:
    lab = TalkLab(fork_server, tmp_path_factory.mktemp("talk-openai"))
    assert lab.train("results", TRAINED).returncode == 0
    assert lab.ft30("models", "register", "latest", "talk").returncode == 0
    with serve_lab(lab.folder, "talk:1") as served:
        served.watcher.look()
        ended = subprocess.run(
            [PEER, openai_peer.__file__, served.address], capture_output=True, text=True, timeout=300, check=False
        )
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)


def test_an_answer_is_read_whole_streamed_and_with_the_helper(found: Any) -> None:
    whole, streamed, helper = found["whole"], found["streamed"], found["helper"]
    assert found["models"] == ["talk:1"]
    assert whole["model"] == "talk:1"
    assert streamed["text"] == whole["text"]
    assert (helper["text"], helper["reason"]) == (found["cut"], "stop")
    assert (streamed["role"], streamed["ids"]) == ("assistant", 1)
    assert streamed["reasons"][-1] == whole["reason"]
    assert set(streamed["reasons"][:-1]) == {None}
    assert streamed["usage"] == whole["usage"]
    assert whole["usage"]["total_tokens"] == whole["usage"]["prompt_tokens"] + whole["usage"]["completion_tokens"]
    assert helper["done"], found["cut"]
    assert found["completion"]["reason"] in ("stop", "length")


def test_faults_are_the_clients_own_errors_and_name_the_field(found: Any) -> None:
    errors = found["errors"]
    assert {name: error["kind"] for name, error in errors.items()} == {
        "unknown model": "NotFoundError",
        "tools": "BadRequestError",
        "n": "BadRequestError",
        "temperature": "BadRequestError",
    }
    assert {name: errors[name]["param"] for name in ("tools", "n", "temperature")} == {
        "tools": "tools",
        "n": "n",
        "temperature": "temperature",
    }
    assert "there are: talk:1" in errors["unknown model"]["message"]
