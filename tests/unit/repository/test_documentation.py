"""What the documents show must exist: make words, ft30 commands and options, files; both READMEs say the same."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import click
import pytest

from finetune30.cli.main import app

ROOT = Path(__file__).resolve().parents[3]
README, README_ZH = ROOT / "README.md", ROOT / "README.zh-TW.md"
PAGES = [README, README_ZH, ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
PRESETS = sorted((ROOT / "config").glob("*.yaml"))
END_OF_COMMAND = {"|", "||", "&&", ";", ">", ">>", "2>", "<", "&"}


def page_name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def code_blocks(text: str) -> list[str]:
    return re.findall(r"^```\w*\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)


def code_pieces(text: str) -> list[str]:
    """Lines of fenced blocks and inline code."""
    lines = [line.strip().removeprefix("$ ") for block in code_blocks(text) for line in block.splitlines()]
    prose = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    return lines + [piece.strip() for piece in re.findall(r"`([^`\n]+)`", prose)]


def commands(path: Path, program: str) -> list[list[str]]:
    """Argument lists of every call of `program` in the code of a page or behind '# ' in a preset."""
    text = path.read_text(encoding="utf-8")
    pieces = re.findall(r"^# +(.*)$", text, flags=re.MULTILINE) if path.suffix == ".yaml" else code_pieces(text)
    calls = []
    for piece in pieces:
        first = piece.split(maxsplit=1)[0] if piece else ""
        if first != program and not first.endswith(f"bin/{program}"):
            continue
        arguments = shlex.split(piece, comments=True)
        end = next((i for i, word in enumerate(arguments) if word in END_OF_COMMAND), len(arguments))
        calls.append(arguments[1:end])
    return calls


def make_words() -> dict[str, str]:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    return dict(re.findall(r"^([a-z][a-z0-9-]*):(.*)$", makefile, flags=re.MULTILINE))


def test_every_target_of_the_makefile_has_a_description() -> None:
    bare = [word for word, rest in make_words().items() if "## " not in rest]
    assert bare == []


def test_make_help_lists_every_word() -> None:
    done = subprocess.run(["make", "-C", ROOT, "help"], capture_output=True, text=True, check=True)
    listed = re.findall(r"^  ([a-z][a-z0-9-]*) +\S", done.stdout, flags=re.MULTILINE)
    assert sorted(listed) == sorted(make_words())


def test_make_without_a_word_is_help() -> None:
    done = subprocess.run(["make", "-C", ROOT], capture_output=True, text=True, check=True)
    assert "run-local" in done.stdout


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_make_words_of_a_page_exist(page: Path) -> None:
    known = make_words()
    for arguments in commands(page, "make"):
        words = [a for a in arguments if not a.startswith("-") and "=" not in a and a.islower()]
        assert [word for word in words if word not in known] == [], f"make {' '.join(arguments)}"


@pytest.mark.parametrize("page", [*PAGES, *PRESETS], ids=page_name)
def test_ft30_commands_of_a_page_exist(page: Path) -> None:
    for arguments in commands(page, "ft30"):
        try:
            parse_command(app, "ft30", arguments)
        except click.ClickException as error:
            pytest.fail(f"ft30 {shlex.join(arguments)}: {error.format_message()}")


def parse_command(command: click.Command, name: str, arguments: list[str]) -> None:
    """Read the arguments as click would, without running anything; what a page leaves out may be missing."""
    if isinstance(command, click.Group) and arguments and not arguments[0].startswith("-"):
        child_name, child, rest = command.resolve_command(click.Context(command, info_name=name), list(arguments))
        assert child is not None
        assert child_name is not None
        parse_command(child, child_name, rest)
        return
    try:
        command.make_context(name, list(arguments))
    except (click.exceptions.Exit, click.exceptions.NoArgsIsHelpError, click.MissingParameter):
        pass  # --help; a bare group; "`ft30 predict`" in a sentence
    except click.BadParameter as error:
        if "does not exist" not in error.message:  # the reader's file
            raise


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_linked_files_of_a_page_exist(page: Path) -> None:
    targets = re.findall(r"\]\((?!https?://|#)([^)#\s]+)", page.read_text(encoding="utf-8"))
    assert [target for target in targets if not (page.parent / target).exists()] == []


def test_both_readmes_show_the_same_code() -> None:
    english, chinese = (code_blocks(path.read_text(encoding="utf-8")) for path in (README, README_ZH))
    assert without_comments(english) == without_comments(chinese)


def test_both_readmes_have_the_same_sections() -> None:
    english, chinese = (
        re.findall(r"^(#+) ", path.read_text(encoding="utf-8"), flags=re.MULTILINE) for path in (README, README_ZH)
    )
    assert english == chinese


def without_comments(blocks: list[str]) -> list[str]:
    return [re.sub(r" *(?<!\S)#.*$", "", block, flags=re.MULTILINE) for block in blocks]
