"""Write the generated parts of docs/ anew; with `--check` only tell what is stale.

A generated part stands between `<!-- output of: ft30 … -->` and `<!-- end of output -->`; the command's output is the
text. `<!-- output of: every command -->` stands for the help of all commands, `every route` for the REST API.
"""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import click

from finetune30.cli.main import app

ROOT = Path(__file__).resolve().parents[1]
PART = re.compile(r"(<!-- output of: (?P<command>.+?) -->\n).*?(<!-- end of output -->)", re.DOTALL)
WIDTH = 110


def build_page(text: str) -> str:
    """Return a page with every generated part brought up to date."""
    return PART.sub(lambda match: f"{match[1]}{_output(match['command'])}\n{match[3]}", text)


def _output(command: str) -> str:
    if command == "every command":
        return "\n\n".join(_describe_commands(app, "ft30", None))
    if command == "every route":
        from finetune30.api.reference import build_markdown

        return build_markdown()
    from click.testing import CliRunner

    result = CliRunner().invoke(app, shlex.split(command)[1:], catch_exceptions=False)
    return result.stdout.rstrip("\n")


def _describe_commands(command: click.Command, name: str, parent: click.Context | None) -> Iterator[str]:
    size = {"terminal_width": WIDTH, "max_content_width": WIDTH}
    context = click.Context(command, info_name=name, parent=parent, **(command.context_settings | size))
    if not isinstance(command, click.Group):
        yield f"### {context.command_path}\n\n```text\n{command.get_help(context).rstrip()}\n```"
        return
    for below in command.list_commands(context):
        found = command.get_command(context, below)
        if found is not None and not found.hidden:
            yield from _describe_commands(found, below, context)


def main() -> int:
    """Write or check all pages; exit code 1 when a check found a stale one."""
    stale = []
    for path in sorted((ROOT / "docs").rglob("*.md")):
        text = path.read_text(encoding="utf-8")
        fresh = build_page(text)
        if fresh != text:
            stale.append(path)
            if "--check" not in sys.argv:
                path.write_text(fresh, encoding="utf-8")
    for path in stale:
        click.echo(f"{'stale' if '--check' in sys.argv else 'written'}: {path.relative_to(ROOT)}")
    return 1 if stale and "--check" in sys.argv else 0


if __name__ == "__main__":
    sys.exit(main())
