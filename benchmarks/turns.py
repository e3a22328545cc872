"""Contenders in processes of their own that take turns, so that whatever else the machine does hits all of them."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

#: What one contender answers to one line: seconds, memory, and whatever else its benchmark counts.
Turn = dict[str, Any]


def build_parser(module: str, description: str | None, names: Sequence[str], rounds: int) -> argparse.ArgumentParser:
    """Return the parser of such a benchmark of language models; `--be` makes the process one of the contenders."""
    parser = argparse.ArgumentParser(prog=f"python -m {module}", description=description)
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--rounds", type=int, default=rounds)
    parser.add_argument("--base", type=Path, help="folder of a model; without one it gets random weights")
    parser.add_argument("--be", choices=names, help=argparse.SUPPRESS)
    return parser


def take_turns(module: str, words: Sequence[str], names: Sequence[str], lines: Iterable[str]) -> dict[str, list[Turn]]:
    """Send each line to all contenders, one after the other; return their answers (a JSON line each) by name.

    A contender is `python -m MODULE WORDS --be NAME`. The first line warms up: its answers are left out.
    """
    command = [sys.executable, "-m", module, *words]
    running = {
        name: subprocess.Popen([*command, "--be", name], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for name in names
    }
    found: dict[str, list[Turn]] = {name: [] for name in names}
    for line in lines:
        for name, process in running.items():
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(f"{line}\n")
            process.stdin.flush()
            answer = process.stdout.readline()
            if not answer:
                raise RuntimeError(f"the contender '{name}' ended with exit code {process.wait()}")
            found[name].append(json.loads(answer))
    for process in running.values():
        process.communicate()
    return {name: turns[1:] for name, turns in found.items()}
