"""Beside other trainers of language models, in turns: the same rows, rank and precision, nothing computed again."""

from __future__ import annotations

import os
import statistics
from importlib.machinery import PathFinder

from benchmarks.gpu_check.findings import Context, NotRunError
from benchmarks.gpu_check.material import ensure_base
from benchmarks.gpu_check.running import environment_with
from benchmarks.turns import take_turns

_SHAPE = "llama 1b"
#: Where first losses are further apart, the two did not train the same.
_SAME_LOSS = 1e-2


def check_trl(context: Context) -> None:
    """Stand beside TRL's SFTTrainer without padding."""
    _compare(context, "trl", ("trl", "datasets"), "at least 1.5")


def check_trl_with_liger(context: Context) -> None:
    """Stand beside the same with Liger's kernels."""
    _compare(context, "trl-liger", ("trl", "datasets", "liger_kernel"), "at least 1.5")


def check_unsloth(context: Context) -> None:
    """Stand beside Unsloth."""
    _compare(context, "unsloth", ("unsloth", "trl", "datasets"), "at least 1.0")


def _compare(context: Context, name: str, packages: tuple[str, ...], target: str) -> None:
    # Unsloth pins other versions of TRL and datasets, so it has a folder of its own.
    site = context.sites / ("unsloth" if name == "unsloth" else "trl")
    environment = environment_with(site, context.sites / "own")
    found_in = environment["PYTHONPATH"].split(os.pathsep)
    for package in packages:
        if PathFinder.find_spec(package, found_in) is None and PathFinder.find_spec(package) is None:
            raise NotRunError(f"{package} is not installed")
    if name != "trl" and not context.on_gpu:
        raise NotRunError(f"{name} is for CUDA only")
    os.environ.update(environment)
    base = ensure_base(context, _SHAPE)
    rounds, steps = (3, 8) if context.on_gpu else (1, 2)
    words = ("--device", context.device, "--base", str(base))
    turns = take_turns("benchmarks.gpu_check.contenders", words, ("own", name), [str(steps)] * (rounds + 1))
    own, peer = turns["own"], turns[name]
    ratios = [theirs["seconds"] / mine["seconds"] for mine, theirs in zip(own, peer, strict=True)]
    speeds = [statistics.median(turn["tokens"] / turn["seconds"] for turn in each) for each in (own, peer)]
    gap = abs(own[0]["base_loss"] - peer[0]["base_loss"])
    context.assert_below(gap, _SAME_LOSS, f"loss before anything is learnt, ours against {name}")
    context.figure(
        f"times as fast as {name}", f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})", target
    )
    context.figure(f"tokens/s, ours and {name}", ", ".join(f"{speed:,.0f}" for speed in speeds))
    peaks = [each[-1]["peak_bytes"] / 2**30 for each in (own, peer)]
    context.figure(f"peak memory, ours and {name}", ", ".join(f"{peak:.1f} GiB" for peak in peaks))
