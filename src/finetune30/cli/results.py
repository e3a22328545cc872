"""The table that a finished training ends with."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any


def print_results(run_id: str, name: str, folder: Path, metrics: dict[str, Any]) -> None:
    """Print the figures of the result, the folder's path and what can be done next on standard output."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from finetune30.blocks import as_tree
    from finetune30.cli.blocks import describe_figure, print_blocks
    from finetune30.cli.terminal_text import show_controls
    from finetune30.data.texts import learns_conversations
    from finetune30.problems import load_problem
    from finetune30.service.runs.blocks import build_run_blocks

    table = Table(title=f"{name} ({run_id[:8]}) SUCCEEDED", title_justify="left", show_header=False)
    table.add_column("what")
    table.add_column("value", justify="right")
    for wanted, used in metrics.get("replaced", {}).items():
        table.add_row("instead of", Text(show_controls(f"{wanted}: {used}")))
    samples = []
    for block in build_run_blocks(metrics):
        if block.kind == "text":
            table.add_row(Text(show_controls(block.title.en)), Text(show_controls(block.text.en, "\n"), justify="left"))
        elif block.kind == "figure":
            words, value, judged = describe_figure(as_tree(block))
            table.add_row(Text(words), Text(value))
            for line in judged:
                table.add_row("", Text(line, style="dim"))
        elif block.kind == "table" and block.is_sample:
            samples.append(as_tree(block))
    table.add_row("Device", f"{metrics['environment']['device']}, {metrics['environment']['precision']}")
    console, called = Console(highlight=False), _callable_name()
    console.print(table)
    print_blocks(console, samples)
    console.print(f"results: {folder}", soft_wrap=True)
    console.print(f"more:    {called} runs show {run_id[:8]}", soft_wrap=True)
    talks = learns_conversations(load_problem(metrics["problem_type"]))
    asked = f"chat {run_id[:8]}" if talks else f'predict {run_id[:8]} "some text"'
    console.print(f"try it:  {called} {asked}", soft_wrap=True)


def _callable_name() -> str:
    """Return how this shell can call us: `ft30`, or where it lies while no environment is active."""
    script = Path(sys.executable).with_name("ft30")
    if shutil.which("ft30") or not script.exists():
        return "ft30"
    here = Path.cwd()
    return str(script.relative_to(here) if script.is_relative_to(here) else script)
