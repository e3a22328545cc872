"""`problem_type: auto`: the problem is told from the targets of a text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from finetune30.config.problem_types import AUTO
from finetune30.data.problem import Arranged, Detected
from finetune30.problems.shared.columns import LABEL, TEXT_AND_LABEL

if TYPE_CHECKING:
    import polars as pl

    from finetune30.config.data import DataConfig
    from finetune30.data.problem import Problem, Role, Settled
    from finetune30.data.sources.table import SourceTable
    from finetune30.problems.shared.lists import ListCells

#: Whole numbers of more values than this are quantities unless the configuration says otherwise.
_MAX_NUMERIC_CLASSES = 100
_KEY = "model.problem_type"
_ONE_OUTPUT = "model.num_labels is 1"


@dataclass(frozen=True)
class ToldFromTargets:
    """One class, several, or a quantity: see `settle`."""

    columns: tuple[Role, ...] = TEXT_AND_LABEL

    def arrange(self, tables: Sequence[SourceTable], config: DataConfig) -> Arranged:
        """Return the tables as they are, unless they hold conversations.

        `data.conversation_format` says so, or they do plainly, where neither texts nor labels are named: a column
        called `messages` or `conversations` whose cells are lists of messages. A table with labels is about these.
        """
        from finetune30.data.conversations.arranging import find_conversations
        from finetune30.problems.causal_lm.data import CAUSAL_LM

        named = (config.text_column, config.text_pair_column, config.label_column, config.label_columns)
        labels = {name.lower() for name in tables[0].columns} & {*LABEL.names}
        column = None if any(named) or labels else find_conversations(tables[0])
        because = f"the column {column!r} holds lists of messages"
        if config.conversation_format != AUTO:
            because = "data.conversation_format is set"
        elif column is None:
            return Arranged(tables, self)
        found = Detected(f"the problem is {CAUSAL_LM.name}", because, _KEY)
        arranged = CAUSAL_LM.arrange(tables, config)
        return replace(arranged, detected=(found, *arranged.detected))

    def settle(self, targets: pl.Series, separator: str | None, outputs: int | None) -> Settled:
        """Tell the problem, and say by what.

        Lists are several classes, unless all of them have one item; one output is regression. Where `outputs` is
        unknown, numbers that are not all whole, or whole ones of more than a hundred values, count as quantities.
        Raises DataError for cells in brackets that are no lists.
        """
        from finetune30.problems.classification.data import MULTI
        from finetune30.problems.shared.lists import read_lists
        from finetune30.problems.shared.targets import strip_targets, unwrap_lists

        cells = strip_targets(targets)
        lists = read_lists(cells)
        chosen: Problem = MULTI
        if separator is not None:
            because = "data.label_separator is set"
        elif lists.are_lists and not lists.are_single:
            because = _lists_words(lists)
        else:
            if lists.broken_rows + lists.list_rows == lists.rows:
                lists.require_lists()
            chosen, because = _choose_one(unwrap_lists(cells, lists)[0], outputs)
        return _say(chosen.settle(targets, separator, outputs), because)


@dataclass(frozen=True)
class StoredClasses:
    """Of a stored version whose targets are one class each: these, or the quantity that a model of one output asks."""

    columns: tuple[Role, ...] = TEXT_AND_LABEL

    def settle(self, targets: pl.Series, separator: str | None, outputs: int | None) -> Settled:
        """Return the classes as they were stored, whatever they look like, unless `outputs` is 1."""
        from finetune30.problems.classification.data import SINGLE
        from finetune30.problems.regression.data import REGRESSION

        if outputs == 1:
            return _say(REGRESSION.settle(targets, separator, outputs), _ONE_OUTPUT)
        return SINGLE.settle(targets, separator, outputs)


def _say(settled: Settled, because: str) -> Settled:
    found = Detected(f"the problem is {settled.problem.name}", because, _KEY)
    return replace(settled, detected=(found, *settled.detected))


def _choose_one(cells: pl.Series, outputs: int | None) -> tuple[Problem, str]:
    """Return the problem of cells that hold one label each, and why it is that."""
    from finetune30.problems.classification.data import SINGLE
    from finetune30.problems.regression.data import REGRESSION
    from finetune30.problems.shared.spellings import are_integers, are_measures

    names = cells.drop_nulls().unique().to_list()
    if outputs == 1:
        return REGRESSION, _ONE_OUTPUT
    whole = are_integers(names)
    if outputs is None and are_measures(names) and (not whole or len(names) > _MAX_NUMERIC_CLASSES):
        kind = f"whole numbers of {len(names):,} different values" if whole else "numbers that are not all whole"
        return REGRESSION, f"the labels are {kind}"
    kind = "whole numbers" if whole else "names"
    return SINGLE, f"every row has one label, and the labels are {len(names):,} different {kind}"


def _lists_words(lists: ListCells) -> str:
    if lists.list_rows == lists.rows:
        return f"each of the {lists.rows:,} labels is a list"
    return f"{lists.list_rows:,} of {lists.rows:,} labels are lists"


TOLD_FROM_TARGETS = ToldFromTargets()
