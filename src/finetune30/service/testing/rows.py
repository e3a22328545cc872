"""Opening test rows: read, checked by the rules of the training, and without those that it has seen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from finetune30.config import ExperimentConfig
from finetune30.errors import DataError
from finetune30.problems import load_problem
from finetune30.service.testing.sources import SourceOfTest

if TYPE_CHECKING:
    import polars as pl

    from finetune30.data.problem import Problem, Targets
    from finetune30.data.test_rows import ReadTestRows
    from finetune30.data.versions.manifest import Manifest
    from finetune30.data.versions.storage import VersionStore

Log = Callable[[str], None]
#: Why a test row is left out: its text is one of the rows that the run was trained or evaluated on.
LEAKAGE = "leakage"
#: A target that the training rows do not have.
UNKNOWN = "unknown_label"


@dataclass(frozen=True)
class OpenedRows:
    """Test rows as prepared ones (columns as `PreparedData.train`), and those that were left out, by reason.

    `near`: training rows that nearly are test rows, `shared`: test rows of groups that training rows are of too, where
    they were looked for. `digest`: of the rows that were read.
    """

    frame: pl.DataFrame
    left_out: dict[str, int]
    near: int
    shared: int
    digest: str

    @property
    def read(self) -> int:
        """Rows that were read."""
        return self.frame.height + sum(self.left_out.values())


def open_rows(
    source: SourceOfTest,
    config: ExperimentConfig,
    manifest: Manifest,
    versions: VersionStore,
    targets: Targets,
    log: Log,
) -> OpenedRows:
    """Read the test rows; rows that rules set aside, that ask for an unknown target or leak are left out and counted.

    A row leaks where its text (of a conversation its question) is that of a training or evaluation row of the run, or
    where an earlier turn of such a row asks it.
    Raises DataError where none is left, and what reading raises.
    """
    import polars as pl

    from finetune30.data.conversations.asked import find_earlier
    from finetune30.data.conversations.views import with_questions
    from finetune30.data.groups import GROUP
    from finetune30.data.prepare import rows_of_version, version_rows_of
    from finetune30.data.validation.set_rules import text_keys
    from finetune30.data.versions.held_back import TEST, digest_test_rows
    from finetune30.data.versions.schema import schema_of_roles

    problem = load_problem(manifest.problem_type)
    if source.kind == "version":
        stored, near, shared = versions.load_rows(manifest, TEST), 0, 0
        rows = rows_of_version(stored, manifest.schema)
    else:
        read = _read(source, config, problem, versions, log)
        rows, near, shared = read.rows, read.near, read.shared
        stored = version_rows_of(rows, problem)
    schema = schema_of_roles(problem.columns, grouped=True) if GROUP in stored.columns else manifest.schema
    digest = digest_test_rows(schema.conform(stored), schema)
    rows = _without_unknown(rows, problem, targets)
    seen = pl.concat([versions.load_rows(manifest, split) for split in ("train", "evaluation")])
    known, questions = rows_of_version(seen, manifest.schema), text_keys(with_questions(rows))
    keys = text_keys(with_questions(known))
    wanted = {question.strip(): question for question in questions}
    earlier = pl.Series([wanted[question] for _, question in find_earlier(known, wanted)], dtype=pl.String)
    leaks = questions.is_in(pl.concat([keys, earlier.rename(keys.name)]).unique().implode()) & rows["reason"].is_null()
    rows = rows.with_columns(
        pl.when(pl.Series(leaks)).then(pl.lit(LEAKAGE)).otherwise(pl.col("reason")).alias("reason")
    )
    left_out = dict(sorted(Counter(rows["reason"].drop_nulls()).items()))
    kept = problem.encode_targets(rows.filter(pl.col("reason").is_null()), targets)
    if not kept.height:
        counted = ", ".join(f"{count} {reason}" for reason, count in left_out.items()) or "there are none"
        raise DataError(f"no test row is left ({counted})", "look at the rows, and at those that were trained on")
    return OpenedRows(kept, left_out, near, shared, digest)


def _read(
    source: SourceOfTest, config: ExperimentConfig, problem: Problem, versions: VersionStore, log: Log
) -> ReadTestRows:
    from finetune30.data.test_rows import read_test_rows

    named: dict[str, Any] = {"eval_file": source.name} if source.kind == "file" else {"eval_split": source.name}
    return read_test_rows(
        config.data,
        named,
        log,
        problem=problem,
        num_labels=config.model.num_labels,
        load_version=versions.load_tables,
    )


def _without_unknown(rows: pl.DataFrame, problem: Problem, targets: Targets) -> pl.DataFrame:
    import polars as pl

    asked = rows["label_text"].to_list() if "label_text" in rows.columns else [None] * rows.height
    unknown = [cell is not None and problem.read(cell, targets) is None for cell in asked]
    marked = pl.col("reason").is_null() & pl.Series(unknown, dtype=pl.Boolean)
    return rows.with_columns(pl.when(marked).then(pl.lit(UNKNOWN)).otherwise(pl.col("reason")).alias("reason"))
