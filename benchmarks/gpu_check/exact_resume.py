"""A training that is stopped and gone on with in another process ends in the same bits, and so does a repeated one."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.gpu_check.findings import Context
from benchmarks.gpu_check.material import build_engine, configure, draw_labelled_rows, ensure_base, load_problem

if TYPE_CHECKING:
    from finetune30.training.checkpoints import Checkpoint, Checkpoints

_STEPS, _STOP, _ROWS = 12, 6, 24


@dataclass(frozen=True)
class _Training:
    """What both processes are told; a checkpoint found in `folder` is gone on with."""

    device: str
    precision: str
    deterministic: bool
    base: str
    folder: str


def check(context: Context) -> None:
    """Stop after 6 of 12 steps, go on in a new process, and compare digests with those of a whole training."""
    base = ensure_base(context, "distilbert")
    for precision in ("bf16", "fp16") if context.on_gpu else ("fp32",):
        folder = context.scratch / f"resume-{precision}"
        training = _Training(context.device, precision, True, str(base), str(folder / "whole"))
        whole, again = _train(training), _train(training)
        context.assert_that(
            again == whole, f"{precision}: the same twice (replay)", _name_equal(again, whole), "equal bit for bit"
        )
        stopped = _Training(context.device, precision, True, str(base), str(folder / "stopped"))
        _train(stopped, stop=True)
        began_at, resumed = _train_elsewhere(stopped)
        context.assert_that(
            resumed == whole and began_at == _STOP,
            f"{precision}: stopped after {_STOP} of {_STEPS} steps, gone on with in a new process",
            f"{_name_equal(resumed, whole)}; from step {began_at}",
            "equal bit for bit",
        )
    if context.on_gpu:
        loose = _Training(context.device, "bf16", False, str(base), str(context.scratch / "loose"))
        context.figure("bf16: the same twice, training.deterministic off", _name_equal(_train(loose), _train(loose)))


def _name_equal(found: dict[str, str], expected: dict[str, str]) -> str:
    other = [name for name in expected if found.get(name) != expected[name]]
    return f"other: {', '.join(other)}" if other else f"equal: {', '.join(expected)}"


def _train(training: _Training, *, stop: bool = False, start: Checkpoint | None = None) -> dict[str, str]:
    """Return the digests of a training's end; of one that is stopped, which leaves a checkpoint, none."""
    from finetune30.errors import CancelledError
    from finetune30.modeling.devices import choose_placement
    from finetune30.training.determinism import apply_determinism
    from finetune30.training.loop import train
    from finetune30.training.progress import Progress, QuietHooks

    class Hooks(QuietHooks):
        """Stops after some steps, where that is wanted."""

        steps = 0

        def on_progress(self, progress: Progress) -> None:
            self.steps = progress.global_step

        def stop_reason(self) -> str | None:
            return "the check stops it" if stop and self.steps >= _STOP else None

    placement = choose_placement(training.device, training.precision)
    apply_determinism(placement.device, training.deterministic)
    # With dropout: its random streams have to go on where they were.
    config = configure(
        Path(training.base),
        lora={"lora_dropout": 0.1},
        per_device_train_batch_size=4,
        num_train_epochs=2,
        max_steps=_STEPS,
        save_steps=None,
    )
    folder = Path(training.folder)
    context = Context(training.device, folder, folder, lambda _: None)
    split = draw_labelled_rows(context, _ROWS, 64)
    engine = build_engine(config, training.device, training.precision)
    checkpoints = _open_checkpoints(training) if stop else None
    try:
        return train(engine, split, split, config.training, load_problem(config), Hooks(), checkpoints, start).digests
    except CancelledError:
        return {}


def _open_checkpoints(training: _Training) -> Checkpoints:
    from finetune30.training.checkpoints import Checkpoints

    return Checkpoints(Path(training.folder), {"check": "exact resume"}, keep=1)


def _train_elsewhere(training: _Training) -> tuple[int, dict[str, str]]:
    """Go on with a training in a process of its own; return the step that it began at and the digests of its end."""
    command = [sys.executable, "-m", "benchmarks.gpu_check.exact_resume", json.dumps(training.__dict__)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    began_at, digests = json.loads(done.stdout.splitlines()[-1])
    return began_at, digests


def main() -> None:
    """Go on with the training that the first argument describes."""
    training = _Training(**json.loads(sys.argv[1]))
    start = _open_checkpoints(training).load_latest(print)
    assert start is not None, "the stopped training left no checkpoint"
    print(json.dumps([start.step, _train(training, start=start)]))


if __name__ == "__main__":
    main()
