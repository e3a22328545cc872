"""Damaged files through the readers: thousands of files of every form, each changed at random.

    make fuzz-readers        python tests/mutations.py --files 100000 --commands 500 --seed 1

Each file goes through the function behind `ft30 data validate` in a child process with limits of memory and time, some
through the command itself. Right is: rows, as many as the file holds where an independent count can tell, or an error
of the product. Prints what happened, and the seed, which gives the same files. Exit code 1 for anything else.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from support.damaged import build_corpus, damage
from support.damaged_reading import LIMITS, Reader
from support.fork_server import Ended, ForkServer

_TOLD_SECONDS = 30
_TRACE = re.compile(r"Traceback|report it with|unexpected")


def read_files(files: int, seed: int, folder: Path) -> tuple[Counter[str], list[str]]:
    """Read damaged files in child processes; return how many ended how, and what is wrong."""
    outcomes: Counter[str] = Counter()
    wrong: list[str] = []
    corpus, told = build_corpus(folder / "corpus"), time.monotonic()
    with Reader(folder) as reader:
        for number in range(files):
            path = damage(corpus, seed, number, folder / "file")
            outcome, detail = reader.read(path)
            outcomes[outcome] += 1
            if outcome.startswith("WRONG"):
                wrong.append(f"file {number} ({path.name}): {outcome}: {detail}")
                print(wrong[-1], flush=True)
            shutil.rmtree(path.parent)
            if time.monotonic() - told > _TOLD_SECONDS:
                told = time.monotonic()
                print(f"{number + 1} files, {len(wrong)} wrong", flush=True)
    return outcomes, wrong


def run_commands(commands: int, seed: int, folder: Path) -> tuple[Counter[str], list[str]]:
    """Validate damaged files with the real command; return how many ended with which code, and what is wrong."""
    codes: Counter[str] = Counter()
    wrong: list[str] = []
    corpus = build_corpus(folder / "corpus")
    with ForkServer(folder) as server:
        for number in range(commands):
            path = damage(corpus, seed, number, folder / "file")
            ended = server.run("data", "validate", str(path), "--json", cwd=folder, COLUMNS="200")
            codes[f"exit code {ended.returncode}"] += 1
            if fault := fault_of(ended):
                wrong.append(f"command {number} ({path.name}): {fault}")
                print(wrong[-1], flush=True)
            shutil.rmtree(path.parent)
    return codes, wrong


def fault_of(ended: Ended) -> str | None:
    """Return what is wrong with how `ft30 data validate --json` ended: 0 and 1 with JSON, or 1 with an error."""
    if _TRACE.search(ended.stderr) or ended.returncode not in (0, 1):
        return f"exit code {ended.returncode}: {ended.stderr[-500:]}"
    if ended.stdout.strip():
        errors = json.loads(ended.stdout)["errors"]
        return None if ended.returncode == bool(errors) else f"exit code {ended.returncode} with {errors} errors"
    return None if ended.returncode == 1 and "error" in ended.stderr.lower() else "neither rows nor an error"


def main() -> int:
    """Read files and run commands as the arguments say; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--commands", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="finetune30-mutations-") as folder:
        outcomes, wrong = read_files(chosen.files, chosen.seed, Path(folder))
        codes, wrong_commands = run_commands(chosen.commands, chosen.seed, Path(folder))
    print(f"seed {chosen.seed}, limits {LIMITS}, {time.monotonic() - started:.0f} s")
    for name, count in [*sorted(outcomes.items()), *sorted(codes.items())]:
        print(f"{count:8,} {name}")
    print(f"{len(wrong) + len(wrong_commands)} wrong")
    return bool(wrong or wrong_commands)


if __name__ == "__main__":
    sys.exit(main())
