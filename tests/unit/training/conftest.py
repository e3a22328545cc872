"""An engine on a tiny model, as the product builds it."""

from __future__ import annotations

import pytest

from finetune30.config import ExperimentConfig


@pytest.fixture(scope="session")
def build_general(tiny_model):
    """Return build(family=…, problem_type=…, classes=…, lora={…}, training={…}, precision=…) -> GeneralEngine."""
    from finetune30.modeling.base import find_base
    from finetune30.modeling.devices import choose_placement
    from finetune30.training.paths import Task, build_general_engine

    def build(
        family="distilbert",
        problem_type="single_label_classification",
        classes=2,
        lora=None,
        training=None,
        precision="fp32",
    ):
        config = ExperimentConfig.model_validate(
            {
                "model": {"name": str(tiny_model(family))},
                "lora": {"target_modules": "auto", "r": 2, **(lora or {})},
                "training": {"precision": precision, "device": "cpu", **(training or {})},
            }
        )
        source = find_base(config.model)
        names = () if problem_type == "regression" else tuple(f"label{i}" for i in range(classes))
        placement = choose_placement("cpu", precision)
        return build_general_engine(config, source, Task(problem_type, names), placement)

    return build


class RecordingHooks:
    """Hooks that keep what they are told; `stop_at` asks to stop after that step."""

    def __init__(self, stop_at=None, reason="cancelled"):
        self.records, self.steps, self.losses = [], 0, []
        self._stop_at, self._reason = stop_at, reason

    def on_progress(self, progress):
        if progress.global_step != self.steps:  # an evaluation takes no step
            self.losses.append(progress.last_loss)
        self.steps = progress.global_step

    def on_record(self, record):
        self.records.append(record)

    def stop_reason(self):
        return self._reason if self._stop_at is not None and self.steps >= self._stop_at else None

    def untimed(self):
        """Records without what a clock decides."""
        return [
            {k: v for k, v in record.items() if "per_second" not in k and "runtime" not in k} for record in self.records
        ]


@pytest.fixture
def hooks():
    return RecordingHooks()


@pytest.fixture
def make_hooks():
    return RecordingHooks
