"""A search in lines: its trials, the best of them, and why it ended."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


def describe_lines(described: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines of what `summary.describe_search` returns."""
    spec = described["spec"]
    planned = described["planned"]
    yield (
        f"search {described['id'][:8]} '{described['name']}': {described['status']}, {spec['sampler']}, seed "
        f"{spec['seed']}, {len(described['trials'])} of {'as many' if planned is None else planned} trials, "
        f"{described['hours']:.2f} hours of training"
    )
    if described["reason"]:
        yield described["reason"]
    for trial in described["trials"]:
        yield _describe_trial(trial)
    best = described["best"]
    if best is not None:
        run = (best["run_id"] or "-")[:8]
        yield (
            f"best {described['metric']}: {best['value']:.4f}, trial {best['number']}, run {run}"
            " (the best of many is partly luck)"
        )
    else:
        yield "no trial has a value yet"


def describe_values(values: Mapping[str, Any]) -> str:
    """Return the values of a trial in a line."""
    told = (f"{key.rpartition('.')[2]} {value:.4g}" if isinstance(value, float) else f"{key.rpartition('.')[2]} {value}"
            for key, value in values.items())  # fmt: skip
    return ", ".join(told) or "the configuration as it is"


def _describe_trial(trial: Mapping[str, Any]) -> str:
    value = f"{trial['value']:.4f}" if trial["value"] is not None else trial["reason"] or trial["run_status"] or ""
    shared = "" if trial["reused_from"] is None else f" (the run of trial {trial['reused_from']})"
    run = (trial["run_id"] or "-")[:8]
    values = describe_values(trial["parameters"])
    return f"{trial['number']:>4}  {trial['state']:<9}  {run:<8}  {value:<8}  {values}{shared}"
