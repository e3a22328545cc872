"""A process of a training that another command started: none leaves before the first one has said what ended it."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest
from click.testing import CliRunner

from finetune30.cli import main, member
from finetune30.jobs import parent_watch


@pytest.mark.parametrize("leaves", [lambda arguments: 1, lambda arguments: (_ for _ in ()).throw(SystemExit(1))])
def test_a_process_that_failed_waits_until_the_first_one_has_said_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, leaves: object
) -> None:
    end, ended = tmp_path / "end", threading.Event()
    monkeypatch.setattr(parent_watch, "die_with_parent", lambda parent: None)
    monkeypatch.setattr(main, "run_command", leaves)
    monkeypatch.setenv("RANK", "1")

    def say() -> None:
        if not ended.wait(0.5):  # the other one is still here
            end.write_text("1")

    first = threading.Thread(target=say)
    first.start()
    result = CliRunner().invoke(member.command, [str(os.getppid()), str(end), "train"])
    ended.set()
    first.join()
    assert (result.exit_code, end.exists()) == (1, True)
