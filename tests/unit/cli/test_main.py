"""The entry of `ft30`: fast start, errors as two lines, exit codes."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from pathlib import Path

import click
import pytest

import finetune30.cli.main as cli_main
from finetune30.cli.registry import COMMANDS, GROUPS, Entry
from finetune30.errors import ConfigError, NotFoundError

HEAVY = ("torch", "transformers", "polars", "sqlalchemy", "pydantic", "rich", "numpy")


def ft30(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "finetune30", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=600, check=False)


def exit_code_of(arguments: list[str]) -> int:
    with pytest.raises(SystemExit) as ended:
        cli_main.main(arguments)
    assert isinstance(ended.value.code, int)
    return ended.value.code


@pytest.fixture
def failing_command(monkeypatch):
    """Register a real command that ends in the error given to it."""

    def register(error: BaseException) -> None:
        @click.command("boom")
        def boom() -> None:
            raise error

        monkeypatch.setattr(cli_main, "_boom", boom, raising=False)
        monkeypatch.setitem(COMMANDS, "boom", Entry("finetune30.cli.main:_boom", "Setup", "Fails."))

    return register


def test_help_imports_nothing_heavy():
    code = (
        "import sys\nfrom finetune30.cli.main import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit as ended:\n"
        f"    print([name for name in {HEAVY!r} if name in sys.modules], ended.code)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=600, check=True)
    assert done.stdout.rstrip().endswith("[] 0")
    assert "train" in done.stdout


@pytest.mark.parametrize("name", list(COMMANDS))
def test_command_is_where_the_registry_says(name):
    entry = COMMANDS[name]
    module, attribute = entry.target.split(":")
    found = getattr(import_module(module), attribute)
    assert isinstance(found, click.Command)
    assert found.name == name
    assert entry.group in GROUPS
    assert entry.summary.endswith(".")


@pytest.mark.parametrize("name", list(COMMANDS))
def test_help_of_a_command_needs_no_torch(name):
    code = (
        "import sys\nfrom finetune30.cli.main import main\n"
        f"try:\n    main([{name!r}, '--help'])\nexcept SystemExit as ended:\n"
        "    print('torch' in sys.modules, 'transformers' in sys.modules, ended.code)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=600, check=True)
    assert done.stdout.rstrip().endswith("False False 0")


def test_version_names_the_package():
    done = ft30("--version")
    assert done.returncode == 0
    assert done.stdout.startswith("ft30 0.")


def test_deliberate_error_is_two_lines_and_its_exit_code(failing_command, capsys):
    failing_command(ConfigError("it is broken", "mend it"))
    assert exit_code_of(["boom"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "Error: it is broken\nTry: mend it\n"


def test_deliberate_error_without_remedy_is_one_line(failing_command, capsys):
    failing_command(NotFoundError("no run 7"))
    assert exit_code_of(["boom"]) == 1
    assert capsys.readouterr().err == "Error: no run 7\n"


def test_interrupt_ends_with_130(failing_command):
    failing_command(KeyboardInterrupt())
    assert exit_code_of(["boom"]) == 130


def test_unexpected_error_is_summed_up_and_its_traceback_kept(failing_command, capsys):
    failing_command(RuntimeError("odd\nthing"))
    assert exit_code_of(["boom"]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "Error: unexpected RuntimeError: odd thing"
    report = Path(lines[1].removeprefix("Try: report it with "))
    assert "Traceback" in report.read_text(encoding="utf-8")
    assert report.stat().st_mode & 0o077 == 0
    report.unlink()


def test_full_disk_is_told_as_such(failing_command, capsys):
    failing_command(OSError(28, "No space left on device", "/some/file"))
    assert exit_code_of(["boom"]) == 1
    assert capsys.readouterr().err.splitlines() == [
        "Error: No space left on device: /some/file",
        "Try: free some disk space, then run the same command again",
    ]


def test_unknown_command_names_the_nearest():
    done = ft30("trian")
    assert done.returncode == 2
    assert "Did you mean 'train'?" in done.stderr


def test_flag_of_another_tool_is_translated(capsys):
    assert exit_code_of(["train", "--lr", "3"]) == 2
    assert "it is --training.learning_rate" in capsys.readouterr().err


def test_reader_that_leaves_early_is_no_error():
    command = f"{sys.executable} -m finetune30 config schema | head -c 10"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=600, check=False)
    assert done.stderr == ""
