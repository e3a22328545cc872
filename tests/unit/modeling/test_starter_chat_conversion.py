"""The starter chat model is converted once, whole or not at all, whatever happens on the way."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("gguf", reason="nothing here reads GGUF files: make install-chat")

from finetune30.errors import ModelError, StorageError
from finetune30.files import load_json, sha256_of
from finetune30.modeling.starter_chat import conversion, ensure_starter_chat_model, find_starter_chat_model
from finetune30.modeling.starter_chat.weights import write_weights
from support.tiny_chat import TinyChat, build_tiny_chat

PACKAGE = "a_tiny_chat_model"
POINTS = (
    "starter_chat.amid_weights",
    "starter_chat.before_origin",
    "starter_chat.before_rename",
    "starter_chat.after_rename",
)
#: A process that asks for the model, and says so before and after.
CHILD = f"""
import sys
from pathlib import Path
from finetune30.modeling.starter_chat import conversion

conversion.PACKAGE = {PACKAGE!r}
conversion.GGUF_SHA256, conversion.WEIGHTS_SHA256 = sys.argv[2:]
print("asking", flush=True)
found = conversion.ensure_starter_chat_model(Path(sys.argv[1]), lambda line: print("converting", flush=True))
print(found.path, flush=True)
"""


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> TinyChat:
    return build_tiny_chat(tmp_path_factory.mktemp("packages"), PACKAGE, conversion.GGUF_FILE)


@pytest.fixture
def tiny(package: TinyChat, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TinyChat:
    """The tiny model in place of the true one."""
    from gguf import GGUFReader

    reader = GGUFReader(package.gguf)
    fields = {name: field.contents() for name, field in reader.fields.items()}
    monkeypatch.setattr(conversion, "PACKAGE", PACKAGE)
    monkeypatch.setattr(conversion, "GGUF_SHA256", sha256_of(package.gguf))
    monkeypatch.setattr(conversion, "WEIGHTS_SHA256", write_weights(tmp_path / "weights", reader.tensors, fields))
    monkeypatch.syspath_prepend(package.path)
    return package


def start(package: TinyChat, data: Path, **environment: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", CHILD, str(data), conversion.GGUF_SHA256, conversion.WEIGHTS_SHA256]
    paths = os.pathsep.join([str(package.path), *sys.path])
    return subprocess.Popen(
        command, env={**os.environ, "PYTHONPATH": paths, **environment}, stdout=subprocess.PIPE, text=True
    )


def convert(data: Path) -> tuple[Path, int]:
    """Return the model's folder, and how often it was converted for that."""
    said: list[str] = []
    return ensure_starter_chat_model(data, said.append).path, len(said)


def entries(data: Path) -> list[str]:
    return sorted(path.name for path in (data / "models").iterdir())


WHOLE = [".lock", "smollm2-135m-instruct-dequantised-from-q4_1"]


def test_the_second_time_nothing_is_converted_and_the_package_is_not_needed(
    tiny: TinyChat, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, conversions = convert(tmp_path)
    assert (conversions, folder.is_absolute(), entries(tmp_path)) == (1, True, WHOLE)
    monkeypatch.setattr(conversion, "PACKAGE", "no_such_package")
    assert convert(tmp_path) == (folder, 0)


def test_what_it_was_made_from_stands_beside_it(tiny: TinyChat, tmp_path: Path) -> None:
    folder, _ = convert(tmp_path)
    origin = load_json(folder / "origin.json")
    assert origin["title"] == "SmolLM2-135M-Instruct, dequantised from Q4_1"
    assert origin["license"] == "apache-2.0"
    assert origin["gguf"]["sha256"] == sha256_of(tiny.gguf)
    assert origin["gguf"]["bytes"] == tiny.gguf.stat().st_size
    files = {path.name: path for path in folder.iterdir() if path.name != "origin.json"}
    assert {name: known["sha256"] for name, known in origin["files"].items()} == {
        name: sha256_of(path) for name, path in files.items()
    }


@pytest.mark.parametrize("point", POINTS)
def test_a_process_that_is_killed_leaves_the_whole_model_or_none(tiny: TinyChat, tmp_path: Path, point: str) -> None:
    killed = start(tiny, tmp_path, FT30_FAILPOINT=f"{point}:1")
    said, _ = killed.communicate(timeout=600)
    assert killed.returncode == -signal.SIGKILL
    assert said.split() == ["asking", "converting"]
    left = find_starter_chat_model(tmp_path)
    assert (left is None) == (point != POINTS[-1])
    assert convert(tmp_path)[1] == (1 if left is None else 0)
    assert find_starter_chat_model(tmp_path) is not None
    assert entries(tmp_path) == WHOLE


@pytest.mark.parametrize("point", POINTS[-2:])
def test_a_process_that_is_killed_while_it_replaces_a_damaged_model_leaves_nothing_of_that(
    tiny: TinyChat, tmp_path: Path, point: str
) -> None:
    folder, _ = convert(tmp_path)
    (folder / "config.json").unlink()
    killed = start(tiny, tmp_path, FT30_FAILPOINT=f"{point}:1")
    killed.communicate(timeout=600)
    assert killed.returncode == -signal.SIGKILL
    is_whole = find_starter_chat_model(tmp_path) is not None
    assert is_whole == (point == POINTS[-1])
    assert convert(tmp_path) == (folder, 0 if is_whole else 1)
    assert entries(tmp_path) == WHOLE


def test_of_several_at_once_one_converts_and_the_others_wait(tiny: TinyChat, tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    with (tmp_path / "models" / ".lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        asking = [start(tiny, tmp_path) for _ in range(3)]
        for process in asking:
            assert process.stdout is not None
            assert process.stdout.readline() == "asking\n"  # nobody can be through before the lock is free
    said = [process.communicate(timeout=600)[0].splitlines() for process in asking]
    assert [process.returncode for process in asking] == [0, 0, 0]
    assert {lines[-1] for lines in said} == {str(convert(tmp_path)[0])}
    assert sum(lines.count("converting") for lines in said) == 1
    assert entries(tmp_path) == WHOLE


def _cut(folder: Path) -> None:
    os.truncate(folder / "model.safetensors", 1000)


def _change_a_weight(folder: Path) -> None:
    with (folder / "model.safetensors").open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"?")


def _change_the_template(folder: Path) -> None:
    template = folder / "chat_template.jinja"
    times = template.stat()
    template.write_bytes(template.read_bytes()[::-1])
    os.utime(template, ns=(times.st_atime_ns, times.st_mtime_ns))


def _lose_the_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()


def _lose_the_origin(folder: Path) -> None:
    (folder / "origin.json").unlink()


def _write_nonsense(folder: Path) -> None:
    (folder / "origin.json").write_text('{"conversion": 1, "gguf": []}')


def _write_no_json(folder: Path) -> None:
    (folder / "origin.json").write_text("{")


def _age(folder: Path) -> None:
    origin = folder / "origin.json"
    origin.write_text(origin.read_text().replace('"conversion": 1', '"conversion": 0'))


@pytest.mark.parametrize(
    "damage",
    [
        _cut,
        _change_a_weight,
        _change_the_template,
        _lose_the_tokenizer,
        _lose_the_origin,
        _write_nonsense,
        _write_no_json,
        _age,
    ],
)
def test_what_is_damaged_or_of_an_earlier_version_is_converted_anew(tiny: TinyChat, tmp_path: Path, damage) -> None:
    folder, _ = convert(tmp_path)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    damage(folder)
    assert find_starter_chat_model(tmp_path) is None
    assert convert(tmp_path) == (folder, 1)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert entries(tmp_path) == WHOLE


def test_a_copy_with_younger_files_is_taken_as_it_is(tiny: TinyChat, tmp_path: Path) -> None:
    folder, _ = convert(tmp_path)
    shutil.copytree(tmp_path / "models", tmp_path / "other" / "models")
    os.utime(tmp_path / "other" / folder.relative_to(tmp_path) / "model.safetensors")
    assert convert(tmp_path / "other")[1] == 0


def test_another_file_is_refused_and_nothing_is_left(
    tiny: TinyChat, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conversion, "GGUF_SHA256", "0" * 64)
    with pytest.raises(ModelError) as caught:
        convert(tmp_path)
    assert caught.value.message == (
        f"the file of the starter chat model is another one: sha256 {sha256_of(tiny.gguf)} instead of {'0' * 64}"
    )
    assert caught.value.remedy == "install it again with: make install-chat"
    assert entries(tmp_path) == [".lock"]


def test_other_weights_than_the_known_ones_are_refused_and_nothing_is_left(
    tiny: TinyChat, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = conversion.WEIGHTS_SHA256
    monkeypatch.setattr(conversion, "WEIGHTS_SHA256", "0" * 64)
    with pytest.raises(ModelError, match=f"sha256 {made} instead of 0000"):
        convert(tmp_path)
    assert entries(tmp_path) == [".lock"]


def test_without_its_package_it_is_refused_with_the_word_that_installs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conversion, "PACKAGE", "no_such_package")
    assert not conversion.is_installed()
    with pytest.raises(ModelError) as caught:
        convert(tmp_path)
    assert caught.value.as_dict() == {
        "error": "model_error",
        "message": "the starter chat model is not installed",
        "remedy": "install it with: make install-chat",
    }


def test_a_full_disk_is_said_and_nothing_is_left(tiny: TinyChat, tmp_path: Path) -> None:
    full = start(tiny, tmp_path, FT30_FAILPOINT="disk.write:1:enospc")
    full.communicate(timeout=600)
    assert full.returncode == 1
    assert entries(tmp_path) == [".lock"]


def test_a_folder_that_cannot_be_written_is_a_storage_error(tiny: TinyChat, tmp_path: Path) -> None:
    (tmp_path / "models").write_text("in the way")
    with pytest.raises(StorageError, match="cannot write the starter chat model: File exists"):
        convert(tmp_path)
