"""What the data room needs of a problem, that is of what a model learns from the rows.

A problem lies in a folder of `finetune30.problems` (or of an installed package, see there). This half is about rows:
which columns it reads, what a target is, how rows become token ids, what is kept of an answer. The other half, about
the model, is `finetune30.training.problem`. Neither torch nor polars is imported here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

from finetune30.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np
    import polars as pl
    from numpy.typing import NDArray

    from finetune30.blocks import Block
    from finetune30.config.data import DataConfig
    from finetune30.data.encoding import EncodedSplit, TextEncoder
    from finetune30.data.sources.table import SourceTable

#: What the rows ask of the model, as JSON: label names, a tag set, a template and its digest. Stored with versions,
#: runs and models.
Targets = Mapping[str, Any]

#: Columns of prepared rows that are no texts (`finetune30.data.loading.LoadedRows`).
ROW_COLUMNS = frozenset({"row_id", "file", "origin", "split", "label_text", "label", "reason", "group"})
#: What rules, listings and results put beside the texts of a row.
_RESERVED = ROW_COLUMNS | {
    *("kind", "index", "place", "fix", "prediction", "probabilities", "outcome", "residual"),
    *("row", "new_label", "suggested_label", "score", "is_suspect", "version"),
    *("confidence", "error", "length", "script", "stored"),
}


#: The metric under which a look at test rows has what the model's answers are worth, see `JudgesAnswers`.
ANSWERS = "eval_answers"


def label_names(targets: Targets) -> tuple[str, ...]:
    """Return the names that answers have (the index is the class id), `()` where they have none."""
    return tuple(targets.get("label_names", ()))


@dataclass(frozen=True)
class Role:
    """A column that a problem reads.

    `name` is its name in prepared rows and versions, `key` the key below `data` that names the file's column for it
    (where `data` has no such key, the column can only be detected), `names` are those to detect it by, most telling
    first.

    Texts are cleaned, checked and compared with each other, whatever they are called. The first one is the main one,
    which chooses pieces of versions, is counted in words and is shown where there is room for one text. A text that is
    not optional may be neither empty nor too short; an optional one may be missing in a whole file, not in single rows.
    A target is what the row asks of the model; a problem has one or none.

    Raises ConfigError where a text has a name that rows or their listings use themselves, or one that begins with `_`.
    """

    name: str
    key: str
    kind: Literal["text", "target"]
    names: tuple[str, ...] = ()
    is_optional: bool = False

    def __post_init__(self) -> None:
        if self.kind == "text" and (self.name in _RESERVED or self.name.startswith("_")):
            raise ConfigError(f"a problem cannot call a text {self.name!r}", "give the role another name")


@dataclass(frozen=True)
class Score:
    """The one figure that "best", listings, filters and trends use: its key in the metrics, direction, format.

    `share_right` is the metric that is the share of rows answered rightly, where there is one: evaluation rows that
    rules set aside can be counted as wrong in it.
    """

    name: str
    greater_is_better: bool
    format: Literal["percent", "number"]
    share_right: str | None = None


#: How metrics end where less is better; all others are better when greater.
_LESS_IS_BETTER = ("loss", "mse", "mae", "perplexity")


def is_better_greater(metric: str, score: Score | None = None) -> bool:
    """Tell whether a metric is better when greater: as the problem says of its score, else by the metric's name."""
    return score.greater_is_better if score and metric == score.name else not metric.endswith(_LESS_IS_BETTER)


@dataclass(frozen=True)
class TargetRules:
    """What the checks of rows may ask about targets.

    `classes`: a target is one of a few names that repeat, so a class may be too small or told by its own name in the
    text, and a name that the training rows do not have is a fault. `quantity`: a target is a number. `severities`:
    rules whose severity differs from the usual one for this problem, with it.
    """

    classes: bool = False
    quantity: bool = False
    severities: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Card:
    """What the card of a saved model says about its problem.

    `task` follows "trained for"; `answers` is Markdown; `pipeline_tag` is the hub's; `auto_class` is PEFT's class that
    loads the model, `arguments` what it needs besides the folder, as Python text; `saved` is what lies beside LoRA;
    `reading` makes an answer of a text's `logits` and the label `names`, as Python text; `confidence` is how sure that
    answer is, of the `logits` that decide it and the `scaled` ones that give probabilities; `threshold` is the
    probability from which a label counts where each is decided alone.
    """

    task: str
    answers: str
    pipeline_tag: str
    auto_class: str
    arguments: str = ""
    saved: str = "head saved with it"
    reading: str = "logits.tolist()"
    confidence: str = ""
    threshold: float | None = None


@dataclass(frozen=True)
class Detected:
    """Something that no configuration said and the rows were taken for.

    `found` is what they were taken for, `because` the evidence, `key` the setting that says otherwise (None: only the
    rows themselves can).
    """

    found: str
    because: str
    key: str | None = None

    def describe(self) -> str:
        """Return one line for log and terminal."""
        return f"{self.found}: {self.because}" + (f" (to say otherwise, set {self.key})" if self.key else "")


@dataclass(frozen=True)
class Settled:
    """What target cells turned out to be.

    `targets`: the cells as `problem` reads them, String in the form in which targets are compared and stored; a blank
    is null. `detected`: what was guessed on the way. `names`: the classes where the form of the cells tells all of
    them, with or without rows. `spellings`: spellings that were joined -> the one that stands for them.
    """

    problem: Problem
    targets: pl.Series
    detected: tuple[Detected, ...] = ()
    names: tuple[str, ...] = ()
    spellings: Mapping[str, str] = field(default_factory=dict)


class ProblemChoice(Protocol):
    """A problem, or one that is told from the targets (`auto`)."""

    @property
    def columns(self) -> tuple[Role, ...]:
        """The columns that it reads."""
        ...

    def settle(self, targets: pl.Series, separator: str | None, outputs: int | None) -> Settled:
        """Return the problem that target cells are of, the cells as it reads them, and what was guessed.

        `separator` is `data.label_separator`, `outputs` is `model.num_labels` (None where no model is meant). Raises
        DataError for cells whose form cannot be told.
        """
        ...


#: Columns of `Arranged.faults`, all of them texts.
FAULTS = ("row_id", "rule", "fix")


@dataclass(frozen=True)
class Arranged:
    """Tables whose columns are those that `problem` looks for.

    `column`: the one that was made, at its end or in the place of one of that name (None: none was), of the columns in
    `read`. `detected`: what the rows were taken for. `faults`: a frame of `FAULTS`, rows that could not be read.
    """

    tables: Sequence[SourceTable]
    problem: ProblemChoice
    detected: tuple[Detected, ...] = ()
    faults: pl.DataFrame | None = None
    read: frozenset[str] = frozenset()
    column: str | None = None


@runtime_checkable
class Arranges(Protocol):
    """What a problem or a choice has besides, where rows come in other columns than those that it looks for."""

    def arrange(self, tables: Sequence[SourceTable], config: DataConfig) -> Arranged:
        """Return the tables, training first, as they are read, and the problem or choice that reads them.

        A row that cannot be read is a fault of that row. Raises DataError for tables that hold nothing to be read.
        """
        ...


class Problem(ProblemChoice, Protocol):
    """What a model learns, as far as rows are concerned."""

    @property
    def name(self) -> str:
        """Its name in `model.problem_type`."""
        ...

    @property
    def rules(self) -> TargetRules:
        """What checks of rows may ask about its targets."""
        ...

    @property
    def score(self) -> Score:
        """The one figure that runs are ranked by."""
        ...

    def plan(self, targets: pl.Series, outputs: int | None, declared: tuple[str, ...]) -> Targets:
        """Decide what is asked of the model from the read targets of the training rows.

        `declared` are names that the source itself declares. Raises DataError where they disagree with `outputs`.
        """
        ...

    def choices(self, targets: Targets) -> tuple[str, ...] | None:
        """Return the values of which a target is one; None where there is no such list."""
        ...

    def describe(self, targets: Targets) -> str:
        """Return what a target may be, for an error message: names, or what kind of value."""
        ...

    def read(self, cell: str, targets: Targets) -> str | None:
        """Return a target that somebody wrote in the form in which targets are stored; None where it is none."""
        ...

    def encode_targets(self, rows: pl.DataFrame, targets: Targets) -> pl.DataFrame:
        """Return rows (read targets in `label_text`) with no more than column `label`: what the model is asked.

        Raises DataFileError at the first row without a `reason` whose target cannot be asked.
        """
        ...

    def strata(self, labels: pl.Series) -> pl.Series:
        """Return a sortable stratum for each encoded target: samples keep the share of every stratum."""
        ...

    def count(self, targets: pl.Series, known: Targets | None = None) -> dict[str, int]:
        """Return rows by class of read targets, in order; empty where targets are no classes.

        With `known`, every class of these stands there, also without rows.
        """
        ...

    def encode(self, rows: pl.DataFrame, encoder: TextEncoder, targets: Targets, max_length: int) -> EncodedSplit:
        """Turn prepared rows (`finetune30.data.prepare.PreparedData`) into token ids and targets.

        `targets` are those of the model.
        """
        ...

    def predictions(self, split: EncodedSplit, outputs: NDArray[Any] | None, targets: Targets) -> pl.DataFrame:
        """Return what is kept of an evaluation, a row each.

        Columns: row_id; label and prediction (what was asked and answered, where that is kept); outcome (Boolean:
        right or wrong; or Float64: less is better), where rows can be compared; and what else the problem keeps.
        """
        ...

    @property
    def rank(self) -> Rank | None:
        """How training rows are ranked by doubt in their targets; None where targets cannot be doubted so."""
        ...

    def view(self, metrics: Mapping[str, Any], targets: Targets) -> list[Block]:
        """Return the blocks that show an evaluation, from the run's metrics.json."""
        ...


@runtime_checkable
class ScoresResamples(Protocol):
    """What a problem has besides, where its score is neither the share of right rows nor the mean of their losses."""

    def score_resamples(self, rows: pl.DataFrame, targets: Targets, times: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the score of each resample of predictions, (draws,): row i stands `times[d, i]` times in draw d."""
        ...


class Rank(Protocol):
    """Ranks training rows by how much a model doubts their targets."""

    def __call__(self, rows: pl.DataFrame, outputs: NDArray[Any], targets: Targets) -> tuple[pl.DataFrame, str]:
        """Return the rows of a version in order of doubt, and the method with its source.

        `outputs` are the model's for each row. Added columns: row (position in the version), suggested_label, score
        (0: surely wrong, 1: surely right), is_suspect.
        """
        ...
