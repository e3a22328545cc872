"""Reading in a process of its own: answers, errors as they were raised, limits of time and memory, the end of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from finetune30.data.sources.table import MAX_COLUMNS
from finetune30.errors import DataError, DataFileError, ServiceUnavailableError
from finetune30.service.datasets.reading_process import Readings
from finetune30.settings import Settings
from support.patience import wait_until

#: Called like the interpreter: `-m finetune30 read`. Does what the question's path says.
READER = """#!{python}
import json, os, sys, time
asked = json.loads(sys.stdin.readline())
if asked["path"] == "hang":
    time.sleep(600)
elif asked["path"] == "eat":
    held = []
    while True:
        held.append(b"x" * (64 << 20))
        time.sleep(0.02)
elif asked["path"] == "crash":
    os.abort()
elif asked["path"] == "talk":
    print("no JSON at all")
"""


@pytest.fixture
def reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "reader"
    script.write_text(READER.format(python=sys.executable))
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(script))


@pytest.fixture
def open_readings() -> Iterator[Callable[..., Readings]]:
    opened: list[Readings] = []

    def open_with(**given: float) -> Readings:
        opened.append(Readings(Settings.model_validate(given)))
        return opened[-1]

    yield open_with
    for readings in opened:
        readings.close()


def test_columns_and_rows_of_a_file_are_read(open_readings: Callable[..., Readings]) -> None:
    Path("rows.csv").write_text("text,label\na fine film,1\n")
    found = open_readings().ask("upload", "my rows.csv", path="rows.csv")
    assert found == {"columns": ["text", "label"], "rows": 1}


def test_error_comes_back_as_it_was_raised(open_readings: Callable[..., Readings]) -> None:
    Path("rows.jsonl").write_text('{"text": "a"}\n{"text": x}\n')
    with pytest.raises(DataFileError, match=r"^my rows\.jsonl:2:") as caught:
        open_readings().ask("upload", "my rows.jsonl", path="rows.jsonl")
    assert (caught.value.file, caught.value.line) == ("my rows.jsonl", 2)
    assert caught.value.remedy


@pytest.mark.parametrize("ending", [".json", ".jsonl"])
@pytest.mark.parametrize("cell", ["[" * 200_000 + "]" * 200_000, "9" * 5_000])
def test_what_no_reader_expects_is_said_of_the_file(
    open_readings: Callable[..., Readings], cell: str, ending: str
) -> None:
    record = f'{{"text": {cell}, "label": 1}}\n'
    Path(f"x{ending}").write_text(f"[{record}]" if ending == ".json" else record)
    with pytest.raises(DataError, match="mine"):
        open_readings().ask("upload", f"mine{ending}", path=f"x{ending}")


def test_too_many_columns_are_refused_with_their_number(open_readings: Callable[..., Readings]) -> None:
    names = [f"c{number}" for number in range(MAX_COLUMNS + 1)]
    Path("wide.csv").write_text(",".join(names) + "\n" + ",".join("1" for _ in names) + "\n")
    with pytest.raises(DataFileError, match="1,001 columns; at most 1,000"):
        open_readings().ask("upload", "wide.csv", path="wide.csv")


@pytest.mark.parametrize(
    ("does", "limits", "said"),
    [
        ("hang", {"read_seconds": 0.5}, r"within 0\.5 s"),
        ("eat", {"read_memory_bytes": 1 << 28}, "268435456 bytes of memory"),
        ("crash", {}, "ended with SIGABRT"),
        ("talk", {}, "ended with exit code 0"),
    ],
)
@pytest.mark.usefixtures("reader")
def test_reader_that_gives_no_answer_is_ended(
    open_readings: Callable[..., Readings], does: str, limits: dict[str, float], said: str
) -> None:
    with pytest.raises(DataError, match=said) as caught:
        open_readings(**limits).ask("upload", "x.csv", path=does)
    assert caught.value.message.startswith("x.csv")
    assert _readers() == []


@pytest.mark.usefixtures("reader")
def test_closing_ends_what_reads_and_refuses_more(open_readings: Callable[..., Readings]) -> None:
    readings = open_readings()
    errors: list[ServiceUnavailableError] = []

    def ask() -> None:
        try:
            readings.ask("upload", "x.csv", path="hang")
        except ServiceUnavailableError as error:
            errors.append(error)

    asking = threading.Thread(target=ask)
    asking.start()
    wait_until(_readers, 30, "a process reads")
    readings.close()
    asking.join(60)
    assert (len(errors), _readers()) == (1, [])
    with pytest.raises(ServiceUnavailableError):
        readings.ask("upload", "x.csv", path="hang")


def test_reader_ends_when_its_asker_is_gone() -> None:
    os.mkfifo("pipe.csv")  # nobody writes to it, so it is read for ever
    process = subprocess.Popen([sys.executable, "-m", "finetune30", "read"], stdin=subprocess.PIPE)
    assert process.stdin is not None
    process.stdin.write(json.dumps({"task": "upload", "name": "x", "path": "pipe.csv"}).encode() + b"\n")
    process.stdin.flush()
    time.sleep(0.5)
    assert process.poll() is None
    process.stdin.close()
    assert process.wait(60) == 1


def _readers() -> list[psutil.Process]:
    """Return the processes that read for this one; libraries of other tests have left theirs here too."""
    found = []
    for child in psutil.Process().children():
        with suppress(psutil.NoSuchProcess):
            if child.cmdline()[-1:] == ["read"]:
                found.append(child)
    return found
