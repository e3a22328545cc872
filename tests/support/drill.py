"""Drill mode: an attempt that does everything but train.

It claims, keeps its lease, checkpoints, stops when asked, publishes and records like a training, in a process of its
own, but a step is a short sleep. So thousands of runs can be carried out while everything around them is killed. The
environment of the worker selects it (FT30_DRILL); no configuration and no request can. The experiment's name may ask
for a misfortune: drill-crash, drill-exit, drill-memory, drill-hang, drill-data; or to be held (drill-held) until there
is a file of the name GO where the worker stands, however slow the machine is.
"""

from __future__ import annotations

import ctypes
import math
import os
import random
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

from finetune30 import failpoints
from finetune30.config import ExperimentConfig
from finetune30.errors import CancelledError, DataError
from finetune30.files import encode_json, load_json, save_json_atomic
from finetune30.service.execution.execute import Execution, Work, train_and_publish
from finetune30.service.execution.pausing import Pause
from finetune30.service.execution.run_log import RunLog
from finetune30.settings import load_settings
from finetune30.store import open_store
from finetune30.store.lease import LeaseKeeper
from finetune30.store.run_folder import AttemptFolder, Published
from support.patience import LOOK_SECONDS

_STEPS = 5
HELD, GO = "drill-held", "go"


def drill_variables(step_seconds: float, *, trains_too: bool = False, scored: bool = False) -> dict[str, str]:
    """Return what makes the attempts of a worker drills, for its environment.

    `trains_too`: runs whose name does not begin with `drill` are trained; `scored`: see `build_scored_drill`.
    """
    build = "build_drill_by_name" if trains_too else "build_scored_drill" if scored else "build_drill"
    paths = [str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    return {
        "FT30_DRILL": f"support.drill:{build}:{step_seconds}",
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
    }


def build_drill(step_seconds: str) -> Work:
    """Return the work of a drill whose steps take so long; the run's max_steps (default 5) says how many."""
    return partial(_drill, float(step_seconds))


def build_scored_drill(step_seconds: str) -> Work:
    """Return a drill whose accuracy its configuration decides, so that a search has something to find."""
    return partial(_drill, float(step_seconds), measure=score_of)


def score_of(config: ExperimentConfig) -> float:
    """Return the accuracy of a scored drill: a hill around a rate of 3e-4. Raises DataError for rank 32."""
    if config.lora.r == 32:
        raise DataError("drill.csv:1:1: rank 32 fails on purpose", "nothing to mend: this is a drill")
    return math.exp(-abs(math.log(config.training.learning_rate / 3e-4))) + config.lora.r / 1000


def score_on_the_way(config: ExperimentConfig, share: float) -> float:
    """Return the accuracy of a scored drill after a share of its steps: more and more what it comes to."""
    return score_of(config) * (0.5 + share / 2) + (1 - share) * 0.1 * math.sin(1e6 * config.training.learning_rate)


def build_drill_by_name(step_seconds: str) -> Work:
    """Return a drill where the run of this attempt is called one, else training."""
    run_id = sys.argv[sys.argv.index("--") + 1]
    store = open_store(load_settings().resolved_database_url)
    try:
        is_drill = store.get(run_id).name.startswith("drill")
    finally:
        store.close()
    return build_drill(step_seconds) if is_drill else train_and_publish


def _drill(
    step_seconds: float,
    execution: Execution,
    attempt: AttemptFolder,
    keeper: LeaseKeeper,
    log: RunLog,
    *,
    measure: Callable[[ExperimentConfig], float] = lambda config: 1.0,
) -> Published:
    config = ExperimentConfig.model_validate(execution.run.config)
    log.line(f"DRILL, nothing is trained: run {execution.run.id}, attempt {attempt.number}")
    _meet_misfortune(execution.run.name)
    total = config.training.max_steps or _STEPS
    first = _load_last_step(execution, attempt)
    pause = Pause(execution.run.pause_at, attempt.history)
    for step in range(first + 1, total + 1):
        time.sleep(step_seconds)
        keeper.report({"step": step, "total_steps": total, "percent": round(100 * step / total, 1)})
        log.record({"type": "train", "step": step, "epoch": step / total, "loss": 1.0 / step})
        if measure is score_of:
            evaluation = {"type": "eval", "step": step, "epoch": step / total}
            evaluation["eval_accuracy"] = score_on_the_way(config, step / total)
            log.record(evaluation)
            pause.record(evaluation)
        failpoints.reach("drill.before_checkpoint")
        save_json_atomic(attempt.checkpoints / "drill.json", {"step": step})
        failpoints.reach("drill.after_checkpoint")
        _stop_if_asked(execution, keeper, step, total)
        if pause.is_due(step, total):
            place = {"step": step, "total_steps": total}
            raise CancelledError(f"stopped after step {step} of {total}", details={"reason": "paused", **place})
        while execution.run.name == HELD and not Path(GO).exists():
            time.sleep(LOOK_SECONDS)
            _stop_if_asked(execution, keeper, step, total)
    accuracy = measure(config)
    metrics: dict[str, Any] = {
        "eval_accuracy": accuracy,
        "train_runtime": total * step_seconds,
        "total_steps": total,
        "resumed_from": first,
    }
    if measure is score_of:
        metrics |= {"score": accuracy, "score_name": "eval_accuracy", "score_format": "percent"}
        _predict(accuracy, config.training.seed).write_parquet(attempt.outbox / "predictions.parquet")
    attempt.outbox.joinpath("metrics.json").write_bytes(encode_json(metrics))
    return attempt.publish({"run_id": execution.run.id, "drill": True})


def _predict(accuracy: float, seed: int) -> pl.DataFrame:
    """Return predictions of 80 rows, of which about such a share is right; a seed decides one in ten of them."""
    chance = random.Random(seed)
    right = [(chance.random() if row % 10 == 0 else row * 0.618 % 1) < accuracy for row in range(80)]
    label = pl.Series(["a" if one else "b" for one in right])
    named = {"row_id": [f"{row:02}" for row in range(80)], "label": ["a"] * 80, "prediction": label, "outcome": right}
    return pl.DataFrame(named)


def _load_last_step(execution: Execution, attempt: AttemptFolder) -> int:
    for earlier in execution.folder.earlier_attempts(attempt.number):
        checkpoint: dict[str, Any] | None = load_json(earlier.checkpoints / "drill.json")
        if checkpoint is not None:
            if earlier.history.is_file():  # as a training does: it tells what the run had at its rungs
                attempt.history.write_bytes(earlier.history.read_bytes())
            return int(checkpoint["step"])
    return 0


def _stop_if_asked(execution: Execution, keeper: LeaseKeeper, step: int, total: int) -> None:
    reason = "lost" if keeper.lost else "cancelled" if keeper.cancel_requested else execution.stop_reason()
    if reason is not None:
        raise CancelledError(f"stopped after step {step} of {total}", details={"reason": reason, "step": step})


def _meet_misfortune(name: str) -> None:
    if name == "drill-crash":
        ctypes.string_at(0)  # a segmentation fault
    elif name == "drill-exit":
        os._exit(7)
    elif name == "drill-memory":
        filled = []
        while True:
            filled.append(bytearray(64 << 20))
    elif name == "drill-hang":
        time.sleep(86_400)
    elif name == "drill-data":
        raise DataError("drill.csv:1:1: a fault on purpose", "nothing to mend: this is a drill")
