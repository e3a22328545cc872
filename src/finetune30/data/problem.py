"""What the data room needs of a problem, that is of what a model learns from the rows.

A problem lies in a folder of `finetune30.problems` (or of an installed package, see there). This half is about rows:
which columns it reads, what a target is, how rows become token ids, what is kept of an answer. The other half, about
the model, is `finetune30.training.problem`. Neither torch nor polars is imported here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    import polars as pl
    from numpy.typing import NDArray

    from finetune30.blocks import Block
    from finetune30.config.schema import DataConfig
    from finetune30.data.encoding import EncodedSplit, TextEncoder

#: What the rows ask of the model, as JSON: label names, a tag set, a template and its digest. Stored with versions,
#: runs and models.
Targets = Mapping[str, Any]


@dataclass(frozen=True)
class Role:
    """A column that a problem reads.

    `name` is its name in prepared rows, `key` the key below `data` that names the file's column for it, `names` are
    those to detect it by, most telling first. Texts are cleaned, checked and compared with each other; a target is
    what the row asks of the model.
    """

    name: str
    key: str
    kind: Literal["text", "target"]
    names: tuple[str, ...] = ()
    is_optional: bool = False


@dataclass(frozen=True)
class Score:
    """The one figure that "best", listings, filters and trends use: its key in the metrics, direction, format."""

    name: str
    greater_is_better: bool
    format: Literal["percent", "number"]


@dataclass(frozen=True)
class TargetRules:
    """What the checks of rows may ask about targets.

    `classes`: targets are few and repeat, so a class may be too small or told by its own name in the text.
    `unknown`: a target that the training rows do not know is a fault. `quantity`: a target is a number, which says
    nothing when the text repeats it.
    """

    classes: bool = False
    unknown: bool = False
    quantity: bool = False
    #: Severities that differ from the usual ones for this problem, by rule.
    severities: tuple[tuple[str, str], ...] = ()


class Problem(Protocol):
    """What a model learns, as far as rows are concerned. Targets in rows are texts until `encode_targets`."""

    name: str
    columns: tuple[Role, ...]
    rules: TargetRules
    score: Score

    def settle(self, targets: pl.Series, config: DataConfig, outputs: int | None) -> Problem:
        """Return the problem that these targets are of: itself, unless it stands for several (`auto`)."""
        ...

    def read(self, targets: pl.Series, config: DataConfig) -> pl.Series:
        """Return target cells in the form in which they are compared and stored: String, blank is null."""
        ...

    def plan(self, rows: pl.DataFrame, outputs: int | None, declared: tuple[str, ...]) -> Targets:
        """Decide from prepared rows what is asked of the model.

        `outputs` is `model.num_labels`, None where no model is meant; `declared` are names that the source itself
        declares. Raises DataError where rows and `outputs` disagree.
        """
        ...

    def check(self, cell: str, targets: Targets) -> str | None:
        """Return why a cell is no target of these, None where it is one."""
        ...

    def describe(self, targets: Targets) -> str:
        """Return what a target may be, for an error message: the names, or what kind of value."""
        ...

    def encode_targets(self, rows: pl.DataFrame, targets: Targets) -> pl.DataFrame:
        """Return the rows with column `label`, the targets as the model is asked.

        Raises DataFileError at the first row with a target that cannot be asked.
        """
        ...

    def strata(self, rows: pl.DataFrame) -> pl.Series:
        """Return a sortable stratum for every row with encoded targets: samples keep the share of each."""
        ...

    def count(self, targets: pl.Series) -> dict[str, int]:
        """Return rows by class name of read target cells; empty where targets are no classes."""
        ...

    def describe_values(self, targets: pl.Series) -> dict[str, Any] | None:
        """Return how read target cells that are quantities are spread; None where they are none."""
        ...

    def encode(self, rows: pl.DataFrame, encoder: TextEncoder, targets: Targets, max_length: int) -> EncodedSplit:
        """Turn prepared rows into token ids and targets."""
        ...

    def predictions(self, split: EncodedSplit, outputs: NDArray[Any] | None, targets: Targets) -> pl.DataFrame:
        """Return what is kept of the evaluation, a row each.

        Columns: row_id, label, prediction, outcome (Boolean: right or wrong; or Float64: less is better), and what
        else the problem keeps.
        """
        ...

    def view(self, metrics: Mapping[str, Any], targets: Targets) -> list[Block]:
        """Return the blocks that show an evaluation, from the run's metrics.json."""
        ...
