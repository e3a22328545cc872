"""The problem by which rows are read: that of the configuration, or for `auto` that of the version they lie in."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from finetune30.config.problem_types import AUTO
from finetune30.config.schema import VERSION_PREFIX
from finetune30.problems import choose_problem, find_problem

if TYPE_CHECKING:
    from finetune30.data.problem import ProblemChoice


def problem_of_rows(name: str, dataset_name: str, data_folder: Path | None) -> ProblemChoice:
    """Return the problem `name` (`model.problem_type`) as it reads the data set `dataset_name`.

    For `auto` a version keeps the problem that it was stored with: its columns, whether its lists may have several
    items, and whether whole numbers are classes cannot be told again. Only a model of one output asks for a quantity
    where classes were stored. Raises ConfigError, and NotFoundError where there is no such version.
    """
    if name == AUTO and dataset_name.startswith(VERSION_PREFIX) and data_folder is not None:
        from finetune30.data.versions.storage import VersionStore
        from finetune30.problems.auto import StoredClasses
        from finetune30.problems.classification.decisions import SINGLE_NAME

        stored = VersionStore(data_folder).get(dataset_name.removeprefix(VERSION_PREFIX)).problem_type
        if stored == SINGLE_NAME:
            return StoredClasses()
        if (known := find_problem(stored)) is not None:
            return known
    return choose_problem(name)
