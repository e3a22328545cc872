"""How long validation, analysis and versioning take as a data set grows tenfold.

    python benchmarks/data_pipeline.py                          # 10,000, 100,000 and 1,000,000 synthetic rows
    python benchmarks/data_pipeline.py --file train.tsv         # a file of your own
    python benchmarks/data_pipeline.py --rows 100000 --json

Each size runs in a process of its own, so that its peak memory is its own. Times are seconds after imports, near
duplicates included. Synthetic rows are 5 to 24 words drawn by Zipf's law from 20,000 made-up words; 1 % repeat an
earlier row and 1 % nearly do.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SIZES = (10_000, 100_000, 1_000_000)
SEED = 30


def write_rows(path: Path, count: int) -> None:
    """Write `count` synthetic rows as CSV, in pieces."""
    import numpy as np

    generator = np.random.default_rng(SEED)
    words = np.array(["".join(letters) for letters in generator.choice(list("aeioustrnlmkd"), (20_000, 6))])
    with path.open("w", encoding="utf-8") as file:
        file.write("text,label\n")
        for start in range(0, count, 50_000):
            size = min(50_000, count - start)
            lengths = generator.integers(5, 25, size)
            drawn = words[generator.zipf(1.3, int(lengths.sum())) % len(words)]
            texts = [" ".join(part) for part in np.split(drawn, np.cumsum(lengths)[:-1])]
            for index in range(100, size, 100):
                texts[index] = texts[index - 50]
                texts[index - 1] = f"{max(texts[index - 90 : index - 60], key=len)} indeed"
            file.writelines(f"{text},{number % 2}\n" for number, text in enumerate(texts, start))


def measure(path: Path) -> dict[str, float]:
    """Validate, analyse and version one file; return seconds by step, rows a second and peak memory in MiB."""
    import polars as pl
    import rensa  # noqa: F401 - imported here so that its loading counts in no step

    from finetune30.config.data import DataConfig
    from finetune30.data.analysis.statistics import analyze_rows
    from finetune30.data.loading import load_rows
    from finetune30.data.validation.quarantine import apply_gate, open_gate
    from finetune30.data.validation.validate import validate_rows
    from finetune30.data.versions.storage import VersionStore
    from finetune30.problems import choose_problem

    config = DataConfig(dataset_name=str(path), dataset_config=None, train_samples=None, eval_samples=None)
    seconds: dict[str, float] = {}
    started = time.perf_counter()

    def lap(name: str, since: float) -> float:
        now = time.perf_counter()
        seconds[name] = round(now - since, 3)
        return now

    loaded = load_rows(config, lambda message: None, problem=choose_problem("auto"))
    mark = lap("read", started)
    validation = validate_rows(loaded, config)
    apply_gate(validation, loaded.rows, open_gate(config.gate))
    mark = lap("validate", mark)
    analyze_rows(loaded.rows, loaded.problem)
    mark = lap("analyze", mark)
    rows = loaded.rows.select(
        "text", "text_pair", pl.col("label_text").alias("label"), pl.col("row_id").alias("origin")
    )
    with tempfile.TemporaryDirectory() as folder:
        VersionStore(Path(folder)).create(
            {"train": rows},
            targets={"label_names": ["0", "1"]},
            problem_type=loaded.problem.name,
            source={"name": path.name},
        )
    lap("version", mark)
    total = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return {
        "rows": loaded.rows.height,
        "findings": validation.findings.height,
        **seconds,
        "total_seconds": round(total, 3),
        "rows_per_second": round(loaded.rows.height / total),
        "peak_mib": round(peak / 2**20),
    }


def run_apart(path: Path) -> dict[str, float]:
    """Measure in a fresh process."""
    done = subprocess.run(
        [sys.executable, __file__, "--measure", str(path)], capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)


def main() -> None:
    """Measure the asked sizes and print a table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="*", default=SIZES)
    parser.add_argument("--file", type=Path)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(options.measure)))
        return
    results = []
    with tempfile.TemporaryDirectory() as folder:
        paths = [options.file] if options.file else []
        for count in () if options.file else options.rows:
            paths.append(Path(folder, f"rows_{count}.csv"))
            write_rows(paths[-1], count)
        results = [run_apart(path) for path in paths]
    if options.json:
        print(json.dumps({"machine": platform.platform(), "results": results}, indent=2))
        return
    names = list(results[0])
    print("  ".join(f"{name:>15}" for name in names))
    for result in results:
        print("  ".join(f"{result[name]:>15,}" for name in names))


if __name__ == "__main__":
    main()
