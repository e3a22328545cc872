"""What is said of a reader that fails: of one whose disk is full, in Python's words or in Node's, where that is."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import pytest

from finetune30.errors import SelfTestError, StorageError
from finetune30.service.exports.reading import run_reader

#: Fails with some last words, unless it answers into a folder below `elsewhere`.
_READER = """
import sys
from pathlib import Path
import numpy as np
if "elsewhere" not in sys.argv[-1]:
    print("at work", file=sys.stderr)
    sys.exit({said!r})
Path(sys.argv[-1], "answer.json").write_text("{{}}")
np.savez(Path(sys.argv[-1], "arrays.npz"), logits=np.ones(2))
"""


def write_reader(folder: Path, said: str) -> list[str]:
    path = folder / "some_reader.py"
    path.write_text(_READER.format(said=said), encoding="utf-8")
    return [sys.executable, str(path)]


@pytest.mark.parametrize(
    "said", ["OSError: [Errno 28] No space left on device", "Error: ENOSPC: no space left on device, write"]
)
def test_a_full_folder_for_passing_files_is_said_by_name_and_another_one_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str
) -> None:
    reader = write_reader(tmp_path, said)
    with pytest.raises(StorageError, match=r"some_reader cannot write into .*ft30-export-") as full:
        run_reader(reader, tmp_path, {})
    assert said in full.value.message
    assert full.value.remedy == "free space there (df -h), or name another folder in TMPDIR"
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.setenv("TMPDIR", str(elsewhere))
    monkeypatch.setattr(tempfile, "tempdir", None)  # as in a process that begins
    assert run_reader(reader, tmp_path, {}).arrays["logits"].tolist() == [1.0, 1.0]
    assert list(elsewhere.iterdir()) == []


def test_another_fault_of_a_reader_is_said_by_its_last_line(tmp_path: Path) -> None:
    with pytest.raises(SelfTestError, match=r"cannot be read by some_reader: no such tensor$"):
        run_reader(write_reader(tmp_path, "no such tensor"), tmp_path, {})
