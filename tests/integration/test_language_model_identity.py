"""A language model's run goes on with, and is repeated on, the very tokens that it has seen, or that is said."""

from __future__ import annotations

import hashlib
import json
import signal
from pathlib import Path
from typing import Any

import pytest

from support.chat_models import CHATML
from support.fork_server import ForkServer
from support.talk_lab import TalkLab

pytestmark = pytest.mark.integration
OTHER = CHATML.replace("'<|im_start|>assistant", "'<|im_start|> assistant").replace("m['role']", "' ' + m['role']")


@pytest.fixture(scope="module")
def killed(fork_server: ForkServer, tmp_path_factory: pytest.TempPathFactory) -> TalkLab:
    """A lab whose template is a file, with a run that was killed behind its checkpoint of step 4."""
    lab = TalkLab(fork_server, tmp_path_factory.mktemp("identity"))
    write(lab, CHATML)
    ended = lab.train("results", {"chat.template": "chat.jinja"}, FT30_FAILPOINT="training.after_step:5")
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    return lab


def write(lab: TalkLab, template: str) -> None:
    (lab.folder / "chat.jinja").write_text(template, encoding="utf-8")


def without_encoding(checkpoint: Path) -> None:
    """Make of a checkpoint what earlier versions wrote."""
    state, manifest = (json.loads((checkpoint / name).read_text()) for name in ("state.json", "manifest.json"))
    del state["identity"]["encoded rows"]
    content = json.dumps(state).encode()
    manifest["files"]["state.json"] = {"sha256": hashlib.sha256(content).hexdigest(), "size_bytes": len(content)}
    (checkpoint / "state.json").write_bytes(content)
    (checkpoint / "manifest.json").write_text(json.dumps(manifest))


def test_an_edited_template_is_refused_and_told_by_a_replay(killed: TalkLab) -> None:
    write(killed, OTHER)
    refused = killed.ft30("resume", "latest")
    assert refused.returncode == 1
    assert "checkpoint-00000004 belongs to another training: encoded rows.chat template: " in refused.stderr
    assert "encoded rows.evaluation: " in refused.stderr
    assert "encoded rows.train: " in refused.stderr
    write(killed, CHATML)
    assert killed.ft30("resume", "latest").returncode == 0
    write(killed, OTHER)
    replayed = killed.ft30("replay", "talk", "--json")
    write(killed, CHATML)
    assert replayed.returncode == 1, replayed.stderr
    report: dict[str, Any] = json.loads(replayed.stdout)
    assert [line.partition(":")[0] for line in report["inputs"]] == [
        *("encoding.chat template", "encoding.evaluation", "encoding.train")
    ]
    rows, answers = report["predictions"]
    assert rows.startswith("changed of 5 rows: outcome of 5")
    assert answers == "generations: 3 of 3 rows changed"


def test_a_checkpoint_that_does_not_say_what_it_has_read_is_refused(fork_server: ForkServer, tmp_path: Path) -> None:
    lab = TalkLab(fork_server, tmp_path)
    assert lab.train("results", FT30_FAILPOINT="training.after_step:3").returncode == -signal.SIGKILL
    without_encoding(lab.run_folder("results") / "attempts" / "1" / "checkpoints" / "checkpoint-00000002")
    refused = lab.ft30("resume", "latest")
    assert refused.returncode == 1
    assert "belongs to another training: encoded rows: None -> {" in refused.stderr
