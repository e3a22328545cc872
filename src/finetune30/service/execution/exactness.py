"""What must be equal for a run to go on, or to be repeated, bit for bit; and what is noted beside it."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from finetune30.config import ExperimentConfig, TrainingConfig
from finetune30.config.loading import flatten_tree
from finetune30.data.problem import label_names
from finetune30.service.execution.warm_start import LABEL_ORDER, start_adapter_digest

if TYPE_CHECKING:
    from finetune30.service.execution.experiment import Experiment
    from finetune30.training.checkpoints import Judge

#: Keys that name a run or say where it lies, and decide nothing.
_NAMES = frozenset({"experiment_name", "training.output_dir"})
#: Keys that say where content comes from: the digests of that content are compared instead.
_SOURCES = frozenset({"model.revision", "data.revision"})
#: Keys of earlier versions that decided nothing.
_DROPPED = frozenset({"lora.task_type", "system.save_config", "system.log_file"})
#: Keys whose effect is compared by itself (`processes`); records of earlier versions lack them.
_COMPARED_APART = frozenset({"training.processes"})
#: Keys that plan the number of steps.
PLAN_KEYS = frozenset({"training.num_train_epochs", "training.max_steps"})
#: What the rows of a language model were encoded to. Checkpoints without it do not say which tokens they have seen.
ENCODED_ROWS = "encoded rows"
_GIT_SECONDS = 5.0


def build_identity(experiment: Experiment, environment: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a checkpoint must have been made with: configuration, rows, base model, engine, environment."""
    inputs, targets = experiment.inputs, experiment.problem.targets
    # Outputs in another order than the data's are those of the checkpoint's head; checkpoints before that had neither.
    order = {} if targets == inputs.data.targets else {LABEL_ORDER: list(label_names(targets))}
    return {
        "config": config_keys(inputs.config),
        "dataset": inputs.data.digest,
        "base": {"weights": inputs.source.weights_digest(), "tokenizer and config": inputs.source.files_digest()},
        "start_adapter": start_adapter_digest(inputs.config.training.start_adapter),
        "engine": experiment.engine.name,
        "special tokens in texts": "text",
        **({ENCODED_ROWS: experiment.encoding} if experiment.encoding else {}),
        **order,
        **environment,
    }


def config_keys(config: ExperimentConfig) -> dict[str, Any]:
    """Return every key of a configuration that decides the result, dotted, with its value."""
    return {key: value for key, value in flatten_tree(config.as_tree()).items() if key not in _NAMES}


def judge_of_plans(config: TrainingConfig) -> Judge:
    """Return a judge that accepts another number of steps where it leaves what was trained so far as it was."""
    from finetune30.training.schedule import count_total_steps, keeps_rates

    def judge(key: str, progress: Mapping[str, Any]) -> str | None:
        if key.removeprefix("config.") in _SOURCES | _DROPPED | _COMPARED_APART:
            return None
        if key.removeprefix("config.") not in PLAN_KEYS:
            return ""
        total, taken = count_total_steps(config, progress["steps_per_epoch"]), progress["global_step"]
        if progress["stopped_early"]:
            return "the run stopped early; more steps change nothing"
        if total < taken:
            return f"{taken} steps are taken already"
        if not keeps_rates(config, progress["total_steps"], total, taken):
            return f"the {config.lr_scheduler_type} schedule would have given the {taken} steps so far other rates"
        return None

    return judge


def describe_git_state() -> dict[str, Any] | None:
    """Return commit and dirtiness of the working folder's git project, None where there is none (or no git)."""
    commit = _git("rev-parse", "HEAD")
    if commit is None:
        return None
    return {"commit": commit, "has_changes": bool(_git("status", "--porcelain"))}


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", *arguments], capture_output=True, text=True, timeout=_GIT_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
