"""The table that a finished training ends with."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

#: Rows of the table: key in metrics.json, words, format.
_ROWS = (
    ("eval_accuracy", "accuracy", "{:.4f}"),
    ("eval_f1", "F1 (macro)", "{:.4f}"),
    ("eval_precision", "precision", "{:.4f}"),
    ("eval_recall", "recall", "{:.4f}"),
    ("eval_mse", "mean squared error", "{:.4f}"),
    ("eval_pearson", "Pearson", "{:.4f}"),
    ("eval_spearman", "Spearman", "{:.4f}"),
    ("eval_loss", "evaluation loss", "{:.4f}"),
    ("train_loss", "training loss", "{:.4f}"),
    ("train_samples", "training rows", "{:,}"),
    ("eval_samples", "evaluation rows", "{:,}"),
    ("total_steps", "optimizer steps", "{:,}"),
    ("train_runtime", "training time", "{:.1f} s"),
    ("train_samples_per_second", "speed", "{:.1f} samples/s"),
    ("trainable_parameters", "trainable parameters", "{:,}"),
)


def print_results(run_id: str, name: str, folder: Path, metrics: dict[str, Any]) -> None:
    """Print the table of results and the folder's path on standard output."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{name} ({run_id[:8]}) SUCCEEDED", title_justify="left", show_header=False)
    table.add_column("what")
    table.add_column("value", justify="right")
    for wanted, used in metrics.get("replaced", {}).items():
        table.add_row("instead of", f"{wanted}: {used}")
    for key, words, shape in _ROWS:
        if metrics.get(key) is not None:
            table.add_row(words, shape.format(metrics[key]))
    peak = metrics.get("peak_memory_bytes")
    if peak:
        table.add_row("peak memory", f"{peak / 2**20:,.0f} MiB")
    table.add_row("device", f"{metrics['environment']['device']}, {metrics['environment']['precision']}")
    console = Console(highlight=False)
    console.print(table)
    console.print(f"results: {folder}", soft_wrap=True)
    console.print(f'try it:  {_callable_name()} predict {run_id[:8]} "some text"', soft_wrap=True)


def _callable_name() -> str:
    """Return how this shell can call us: `ft30`, or where it lies while no environment is active."""
    script = Path(sys.executable).with_name("ft30")
    if shutil.which("ft30") or not script.exists():
        return "ft30"
    here = Path.cwd()
    return str(script.relative_to(here) if script.is_relative_to(here) else script)
