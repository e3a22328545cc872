"""The folder of an export is there whole or not at all, whenever the process that writes it dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import finetune30
from finetune30.errors import ConflictError, UsageError
from finetune30.files import sha256_of
from finetune30.service.exports.staging import SUMS, staged

POINTS = ("before_files", "before_rename", "between_renames", "after_rename")
_WRITE = """
import sys
from pathlib import Path
from finetune30.service.exports.staging import staged
with staged(Path(sys.argv[1]), overwrite=True) as folder:
    (folder / "model").write_text("new")
    (folder / "part").mkdir()
    (folder / "part" / "more").write_text("new")
"""


def write_and_die(target: Path, point: str) -> None:
    environment = {**os.environ, "FT30_FAILPOINT": f"export.{point}:1"}
    environment["PYTHONPATH"] = str(Path(finetune30.__file__).parents[1])
    ended = subprocess.run([sys.executable, "-c", _WRITE, str(target)], env=environment, check=False)
    assert ended.returncode == -signal.SIGKILL


def write(target: Path, content: str, *, overwrite: bool = False) -> None:
    with staged(target, overwrite=overwrite) as folder:
        (folder / "model").write_text(content)
        (folder / "model").chmod(0o600)


def content(target: Path) -> str:
    """Return what a whole export holds."""
    for line in (target / SUMS).read_text().splitlines():
        digest, name = line.split("  ")
        assert sha256_of(target / name) == digest
    return (target / "model").read_text()


@pytest.mark.parametrize("point", POINTS)
def test_a_killed_export_leaves_the_old_one_the_new_one_or_none(tmp_path, point):
    target = tmp_path / "exports" / "model"
    if point != "between_renames":  # of a first export there is nothing to rename
        write_and_die(target, point)
        assert not target.exists() or content(target) == "new"
    write(target, "old", overwrite=True)
    write_and_die(target, point)
    if target.exists():
        assert content(target) == ("new" if point == "after_rename" else "old")
    else:
        assert point == "between_renames"
    with pytest.raises(UsageError, match="is there already"):
        write(target, "next")
    assert content(target) == ("new" if point == "after_rename" else "old")
    write(target, "next", overwrite=True)
    assert content(target) == "next"
    assert [path.name for path in target.parent.iterdir()] == ["model"]


def test_an_export_that_fails_leaves_nothing(tmp_path):
    def fail():
        with staged(tmp_path / "model", overwrite=False) as folder:
            (folder / "half").write_text("half")
            raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_two_that_make_the_same_export_do_not_meet(tmp_path):
    with staged(tmp_path / "model", overwrite=False) as folder:
        (folder / "model").write_text("first")
        with pytest.raises(ConflictError, match="another process writes"), staged(tmp_path / "model", overwrite=True):
            pytest.fail("both write")
        write(tmp_path / "other", "second")
    assert content(tmp_path / "model") == "first"


@pytest.mark.parametrize("is_an_export", [True, False])
def test_only_what_an_export_wrote_is_replaced(tmp_path, is_an_export):
    folder = tmp_path / "mine"
    if is_an_export:
        write(folder, "old")
    (folder / "empty").mkdir(parents=True)
    note = folder / "notes.txt"
    note.write_text("precious")
    for target in (folder, note, folder / "empty" / ".."):
        with pytest.raises(UsageError, match=r"is not replaced: no export wrote 'notes\.txt'"):
            write(target, "new", overwrite=True)
    assert note.read_text() == "precious"
    assert not list(tmp_path.rglob(".*"))
    note.rename(tmp_path / "notes.txt")  # "move that away"
    write(folder, "new", overwrite=True)
    assert content(folder) == "new"


def test_an_empty_folder_is_replaced_and_the_working_folder_has_a_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    write(tmp_path / "mine", "new", overwrite=True)
    assert content(tmp_path / "mine") == "new"
    modes = {path.stat().st_mode for path in (tmp_path / "mine").iterdir()}
    assert len(modes) == 1, "who may read its papers may read the model"
    with pytest.raises(UsageError, match=f"'{tmp_path}' is there already"):
        write(Path(), "new")


#: Writes as each library does, in a process whose files may hold 4 KiB; prints what a person is told.
_WRITE_TOO_MUCH = """
import resource, signal, sys
from pathlib import Path
from finetune30.errors import StorageError
from finetune30.service.exports.staging import staged

def write_weights(folder):
    import torch
    from safetensors.torch import save_file
    save_file({"a": torch.zeros(100_000)}, folder / "model.safetensors")

def write_tokenizer(folder):
    from tokenizers import Tokenizer, models
    words = {f"word{number}": number for number in range(5_000)}
    Tokenizer(models.WordLevel(words, unk_token="word0")).save(str(folder / "tokenizer.json"))

def write_plain(folder):
    (folder / "model.gguf").write_bytes(bytes(100_000))

def wrap(folder):
    try:
        write_plain(folder)
    except OSError as error:
        raise ValueError("the exporter failed") from error

writers = {"weights": write_weights, "tokenizer": write_tokenizer, "plain": write_plain, "wrapped": wrap}
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
try:
    with staged(Path(sys.argv[1]), overwrite=False) as folder:
        writers[sys.argv[2]](folder)
except StorageError as error:
    print(error.message)
    print(error.remedy)
"""


@pytest.mark.parametrize("writer", ["weights", "tokenizer", "plain", "wrapped"])
def test_a_full_disk_is_said_with_the_folder_whichever_library_wrote_and_another_one_is_taken(tmp_path, writer):
    target = tmp_path / "exports" / "model"
    environment = {**os.environ, "PYTHONPATH": str(Path(finetune30.__file__).parents[1])}
    ended = subprocess.run(
        [sys.executable, "-c", _WRITE_TOO_MUCH, str(target), writer],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    told = ended.stdout.splitlines()
    assert told, ended.stderr
    assert told[0].startswith(f"cannot write {target}: File too large"), told
    assert told[1] == f"free space in {target.parent} (df -h), or give another --output"
    assert list(target.parent.iterdir()) == []
    write(tmp_path / "elsewhere" / "model", "whole")
    assert content(tmp_path / "elsewhere" / "model") == "whole"
