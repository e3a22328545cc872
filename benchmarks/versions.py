"""Two versions of the packed path against each other: is the second one as fast as the first?

    python -m benchmarks.versions OLD NEW --pairs 21

OLD and NEW are folders with the sources of a version each, kernels compiled (`python setup.py build_ext --inplace`);
for a commit: `git worktree add FOLDER COMMIT`. Both run in processes of their own and take turns, first one and then
the other, so that whatever else the machine does hits both. One thread each unless OMP_NUM_THREADS says otherwise:
on a machine that is busy with other things, threads of one process spend their time waiting for each other.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.material import build_random_base, load_rows

#: Base models: changes to DistilBERT's sizes, into those of BERT-tiny and BERT-small (Turc et al. 2019).
BASES: dict[str, dict[str, int]] = {
    "tiny": {"dim": 128, "hidden_dim": 512, "n_heads": 2, "n_layers": 2},
    "small": {"dim": 512, "hidden_dim": 2048, "n_heads": 8, "n_layers": 4},
    "DistilBERT": {},
}
#: Base model, precision, batch size.
CELLS = (
    ("tiny", "fp32", 2),
    ("tiny", "bf16", 16),
    ("small", "fp32", 2),
    ("small", "bf16", 16),
    ("DistilBERT", "fp32", 16),
)
KINDS = ("train", "evaluate")


def main() -> None:
    """Measure every cell; print a table of the second version's speed over the first one's."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.versions", description=__doc__)
    parser.add_argument("versions", nargs=2, type=Path, metavar="FOLDER", help="sources: the old ones, the new ones")
    parser.add_argument("--rows", type=int, default=128, help="rows in an epoch")
    parser.add_argument("--pairs", type=int, default=21)
    parser.add_argument("--bases", default=",".join(BASES), help="base models to measure with")
    parser.add_argument("--texts", type=Path, help="TSV or CSV with sentence or text, and label")
    parser.add_argument("--tokenizer", type=Path, help="folder with tokenizer.json")
    options = parser.parse_args()
    print("| base | precision | batch | what | pairs | new / old, median | 95 % interval |")
    print("|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory(prefix="benchmark-") as scratch:
        rows_file = Path(scratch) / "rows.json"
        rows_file.write_text(json.dumps(load_rows(options.texts, options.rows)), encoding="utf-8")
        chosen = options.bases.split(",")
        for name, precision, batch_size in (cell for cell in CELLS if cell[0] in chosen):
            base = Path(scratch) / name
            if not base.exists():
                build_random_base(base, options.tokenizer, BASES[name])
            arguments = ["packed", precision, str(batch_size), str(base), str(rows_file)]
            for kind, ratios in _measure(options.versions, arguments, options.pairs).items():
                low, high = interval_of_median(ratios)
                print(
                    f"| {name} | {precision} | {batch_size} | {kind} | {len(ratios)} | {statistics.median(ratios):.3f} "
                    f"| {low:.3f} to {high:.3f} |",
                    flush=True,
                )


def interval_of_median(values: list[float]) -> tuple[float, float]:
    """Return the narrowest order statistics that hold the median with at least 95 %, whatever the distribution."""
    ordered, count = sorted(values), len(values)
    below, outside = 0, 0.0
    while outside + math.comb(count, below) / 2**count <= 0.025:
        outside += math.comb(count, below) / 2**count
        below += 1
    place = max(below - 1, 0)
    return ordered[place], ordered[count - 1 - place]


def _measure(folders: list[Path], arguments: list[str], pairs: int) -> dict[str, list[float]]:
    processes = [_start(folder.resolve(), arguments) for folder in folders]
    ratios: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for number in range(pairs + 1):
        for kind in KINDS:
            # Who goes first changes from pair to pair.
            order = (0, 1) if number % 2 else (1, 0)
            speeds = {place: _ask(processes[place], kind) for place in order}
            if number:  # the first pair warms up
                ratios[kind].append(speeds[1] / speeds[0])
    for process in processes:
        process.communicate()
    return ratios


def _start(folder: Path, arguments: list[str]) -> subprocess.Popen[str]:
    environment = {
        "OMP_NUM_THREADS": "1",
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(folder / "src"), str(folder)]),
    }
    return subprocess.Popen(
        [sys.executable, "-m", "benchmarks.contender", *arguments],
        cwd=folder,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def _ask(process: subprocess.Popen[str], kind: str) -> float:
    """Return rows a second."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(kind + "\n")
    process.stdin.flush()
    answer = process.stdout.readline()
    if not answer:
        raise SystemExit(f"a version ended early: {process.args!r}")
    found = json.loads(answer)
    return float(found["rows"] / found["seconds"])


if __name__ == "__main__":
    main()
