"""What is said about a file that the API cannot read is done to the letter, and the file is then read or looked at."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from finetune30.errors import DataError
from finetune30.service.datasets import reading_process
from finetune30.service.datasets.reading_process import Readings
from finetune30.settings import Settings
from support.following import Terminal

#: A reader that meets what nobody expected: no known file brings that about.
PLANTED = """
from finetune30.service.datasets import reading_tasks

def read(*_, **__):
    raise ZeroDivisionError("a fault on purpose")

reading_tasks.TASKS["upload"] = read
reading_tasks.main({})
"""


@pytest.fixture
def ft30(capsys: pytest.CaptureFixture[str]) -> Terminal:
    return Terminal(capsys)


def write_rows(path: Path, further_columns: int = 0) -> Path:
    names = [f"column {number}" for number in range(further_columns)]
    rows = [[f"this is text number {n}", str(n % 2), *(["x"] * further_columns)] for n in range(30)]
    path.write_text("\n".join(",".join(row) for row in [["text", "label", *names], *rows]) + "\n", encoding="utf-8")
    return path


def test_a_file_with_more_than_can_be_shown_is_sent_in_part_or_looked_at(
    tmp_path: Path, ft30: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading_process, "MOST_ANSWER_BYTES", 1000)  # 64 MiB, which no quick test writes
    readings = Readings(Settings())
    whole, part = write_rows(tmp_path / "whole.csv", 300), write_rows(tmp_path / "part.csv", 3)
    try:
        with pytest.raises(DataError, match="there is more to show than 1000 bytes") as caught:
            readings.ask("upload", "whole.csv", path=str(whole))
        assert caught.value.remedy == "send fewer rows or columns, or look at the file with: ft30 data validate FILE"
        assert readings.ask("upload", "part.csv", path=str(part))["rows"] == 30
    finally:
        readings.close()
    assert "30 rows" in ft30.type("ft30 data validate FILE", FILE=whole).out


def test_a_file_that_breaks_the_reader_is_looked_at_and_the_log_says_more(tmp_path: Path, ft30: Terminal) -> None:
    path = write_rows(tmp_path / "rows.csv", 30)
    question = json.dumps({"task": "upload", "name": "rows.csv", "path": str(path)})
    with subprocess.Popen(
        [sys.executable, "-c", PLANTED],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as reader:
        assert reader.stdin is not None
        assert reader.stdout is not None
        assert reader.stderr is not None
        reader.stdin.write(question + "\n")
        reader.stdin.flush()
        answer, log = json.loads(reader.stdout.read()), reader.stderr.read()
    assert answer["remedy"] == "look at it with: ft30 data validate FILE; the log of the API says more"
    assert "ZeroDivisionError: a fault on purpose" in log
    assert "30 rows" in ft30.type("ft30 data validate FILE", FILE=path).out
