"""The benchmark: every contender in its own process, one after the other in alternating pairs, medians in a table.

    python -m benchmarks --rows 256 --pairs 5 --texts train.tsv --tokenizer FOLDER --output build/benchmark.md

Everything is optional: without files it runs on the starter reviews and the starter model's tokenizer.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.gemm import needed_operations
from benchmarks.material import build_random_base, load_rows

Answers = dict[str, list[dict[str, float]]]


def main() -> None:
    """Parse, measure, write the table."""
    options = _parse()
    with tempfile.TemporaryDirectory(prefix="benchmark-") as scratch:
        folder = Path(scratch)
        rows_file = folder / "rows.json"
        rows_file.write_text(json.dumps(load_rows(options.texts, options.rows)), encoding="utf-8")
        base = options.base or build_random_base(folder / "base", options.tokenizer)
        lines = [*_heading(options), *_speed(options, base, rows_file)]
        if options.starts:
            lines += _starts(options, base, rows_file)
    text = "\n".join(lines) + "\n"
    print(text)
    if options.output is not None:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_text(text, encoding="utf-8")


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--rows", type=int, default=256, help="rows in an epoch")
    parser.add_argument("--pairs", type=int, default=5, help="rounds; in each, every contender runs once")
    parser.add_argument("--batches", default="2,16", help="batch sizes")
    parser.add_argument("--precisions", default="fp32,bf16", help="precisions of ours and of the tuned Trainer")
    parser.add_argument("--texts", type=Path, help="TSV or CSV with sentence or text, and label")
    parser.add_argument("--tokenizer", type=Path, help="folder with tokenizer.json")
    parser.add_argument("--base", type=Path, help="folder of a base model; default: random weights")
    parser.add_argument("--starts", type=int, default=3, help="starts to the first step; 0: none")
    parser.add_argument("--output", type=Path, help="file for the Markdown table")
    return parser.parse_args()


def _heading(options: argparse.Namespace) -> list[str]:
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    return [
        f"{options.rows} rows, {options.pairs} rounds, medians. {platform.machine()}, {os.cpu_count()} CPUs, "
        f"load at the start {load}; {time.strftime('%Y-%m-%d %H:%M', time.gmtime())} UTC.",
        "",
    ]


def _speed(options: argparse.Namespace, base: Path, rows_file: Path) -> list[str]:
    lines = [
        "| batch | contender | samples/s | tokens/s | × usual | × tuned | evaluation, samples/s | peak RSS, MB "
        "| share of GEMM limit |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    limits: dict[str, list[float]] = {}
    for batch_size in (int(size) for size in options.batches.split(",")):
        contenders = {"usual fp32": _start("usual", "fp32", batch_size, base, rows_file)}
        for precision in options.precisions.split(","):
            for name in ("tuned", "general", "packed"):
                contenders[f"{name} {precision}"] = _start(name, precision, batch_size, base, rows_file)
        training: Answers = {name: [] for name in contenders}
        evaluation: Answers = {name: [] for name in contenders}
        for round_number in range(options.pairs + 1):
            for name, process in contenders.items():
                trained = _ask(process, "train")
                if round_number:  # the first round warms up: code is prepared, memory is touched
                    training[name].append(trained)
                # The usual script's evaluation takes longest and varies least: once is enough.
                if round_number == 1 or (round_number and name != "usual fp32"):
                    evaluation[name].append(_ask(process, "evaluate"))
            if round_number:
                for precision, limit in _limits(options.precisions.split(",")).items():
                    limits.setdefault(precision, []).append(limit)
        for process in contenders.values():
            process.communicate()
        lines += _rows_of_table(batch_size, training, evaluation, limits)
    measured = ", ".join(f"{name} {statistics.median(found) / 1e9:.0f} GFLOP/s" for name, found in limits.items())
    return [*lines, "", f"Measured GEMM limit: {measured}."]


def _rows_of_table(
    batch_size: int, training: Answers, evaluation: Answers, limits: dict[str, list[float]]
) -> list[str]:
    lines = []
    for name, answers in training.items():
        precision = name.split()[1]
        rate = statistics.median(answer["rows"] / answer["seconds"] for answer in answers)
        tokens = statistics.median(answer["tokens"] / answer["seconds"] for answer in answers)
        usual, tuned = (_ratio(answers, training.get(other)) for other in ("usual fp32", f"tuned {precision}"))
        evaluated = statistics.median(answer["rows"] / answer["seconds"] for answer in evaluation[name])
        peak = max(answer["peak_bytes"] for answer in evaluation[name]) / 1e6
        share = "—"
        if name.startswith("packed"):
            operations = statistics.median(
                needed_operations(answer["tokens"], answer["rows"]) / answer["seconds"] for answer in answers
            )
            share = f"{operations / statistics.median(limits[precision]):.2f}"
        lines.append(
            f"| {batch_size} | {name} | {rate:.1f} | {tokens:.0f} | {usual} | {tuned} | {evaluated:.0f} "
            f"| {peak:.0f} | {share} |"
        )
    return lines


def _ratio(ours: list[dict[str, float]], others: list[dict[str, float]] | None) -> str:
    """Return the median of the pairs' ratios: what disturbs one round disturbs both of its sides."""
    if others is None:
        return "—"
    pairs = zip(ours, others, strict=True)
    ratios = [(a["rows"] / a["seconds"]) / (b["rows"] / b["seconds"]) for a, b in pairs]
    return f"{statistics.median(ratios):.2f}"


def _starts(options: argparse.Namespace, base: Path, rows_file: Path) -> list[str]:
    lines = ["", "| path | process start to first step, s |", "|---|---|"]
    for path in ("packed", "general"):
        seconds = []
        for _ in range(options.starts):
            arguments = ["benchmarks.first_step", path, "bf16", str(base), str(rows_file)]
            started = time.time()
            run = subprocess.run([sys.executable, "-m", *arguments], check=True, capture_output=True, text=True)
            seconds.append(float(run.stdout.split()[-1]) - started)
        lines.append(f"| {path} bf16 | {statistics.median(seconds):.2f} |")
    return lines


def _start(name: str, precision: str, batch_size: int, base: Path, rows_file: Path) -> subprocess.Popen[str]:
    arguments = ["benchmarks.contender", name, precision, str(batch_size), str(base), str(rows_file)]
    return subprocess.Popen(
        [sys.executable, "-m", *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def _ask(process: subprocess.Popen[str], command: str) -> dict[str, float]:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(command + "\n")
    process.stdin.flush()
    answer = process.stdout.readline()
    if not answer:
        raise SystemExit(f"a contender ended early: {' '.join(map(str, process.args))}")
    found: dict[str, float] = json.loads(answer)
    return found


def _limits(precisions: list[str]) -> dict[str, Any]:
    run = subprocess.run(
        [sys.executable, "-m", "benchmarks.gemm", *precisions], check=True, capture_output=True, text=True
    )
    found: dict[str, Any] = json.loads(run.stdout)
    return found


if __name__ == "__main__":
    main()
