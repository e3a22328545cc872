"""Answers of language models side by side: to evaluation rows that several runs answered, as they are on record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import polars as pl

from finetune30.data.groups import GROUP
from finetune30.errors import StorageError
from finetune30.files import load_json_lines
from finetune30.service.runs.comparable import Answered
from finetune30.service.runs.judging import judge_pairs
from finetune30.service.runs.open_records import Records
from finetune30.service.runs.outcomes import Measure, Outcomes, load_groups
from finetune30.service.statistics.groups import number_groups
from finetune30.store import Run

#: What a run publishes of its answers, one line a row.
FILE = "generations.jsonl"
SHOWN_ROWS = 200
#: Column of the file that says whether an answer is right -> what that means.
_MEASURES: dict[str, Measure] = {"is_exact": "exact", "holds_expected": "expected"}

Tree = dict[str, Any]
Answers = Mapping[str, Tree]


def compare_answers(records: Records, runs: Sequence[Run]) -> Tree:
    """Return the rows whose answers differ, side by side, and for every pair McNemar's test on the rows of both.

    Judged is how many answers are word for word the wanted one (`exact`), and, of rows that say what is expected, how
    many hold it (`expected`); each measure is adjusted on its own. Rows are the same whose wanted answers are. A run
    whose file is damaged is left out, and why.
    """
    left_out: list[Tree] = []
    answered = [_load_answers(records, run, left_out) for run in runs]
    pairs = [pair for column in _MEASURES for pair in judge_pairs(_pair_up(runs, answered, column))]
    rows = _differing(answered)
    return {"pairs": pairs, "rows": rows[:SHOWN_ROWS], "total": len(rows), "left_out": left_out}


def _load_answers(records: Records, run: Run, left_out: list[Tree]) -> Answers:
    folder = records.folder(run)
    try:
        rows = {row["row_id"]: row for row in load_json_lines(folder.path / FILE)}
        return _with_groups(rows, folder.predictions)
    except StorageError as error:
        left_out.append({"run": run.id, "name": run.name, "reason": error.message})
        return {}


def _with_groups(rows: Answers, predictions: Path) -> Answers:
    """Return answers with the groups of their rows, where the predictions of the run say which belong together."""
    if not rows or not predictions.is_file():
        return rows
    groups = load_groups(predictions)
    return {row_id: {**row, GROUP: groups.get(row_id)} for row_id, row in rows.items()} if groups else rows


def _pair_up(runs: Sequence[Run], answered: Sequence[Answers], column: str) -> list[list[Answered]]:
    """Return the runs two by two, each with the outcomes of the rows that both answered and that have one."""
    found = []
    for first, second in combinations(range(len(runs)), 2):
        one, other = answered[first], answered[second]
        common = [
            row_id
            for row_id, row in sorted(one.items())
            if _is_same(row, other.get(row_id)) and None not in (row.get(column), other[row_id].get(column))
        ]
        if common:
            both = ((place, answered[place]) for place in (first, second))
            found.append([Answered(place, runs[place], _outcomes(own, common, column)) for place, own in both])
    return found


def _is_same(row: Tree, other: Tree | None) -> bool:
    return other is not None and row["reference"] == other["reference"]


def _outcomes(answers: Answers, common: Sequence[str], column: str) -> Outcomes:
    rows = [answers[row_id] for row_id in common]
    frame = pl.DataFrame(
        {
            "row_id": pl.Series(common, dtype=pl.String),
            "label": pl.Series([row["reference"] for row in rows], dtype=pl.String),
            "prediction": pl.Series([row["answer"] for row in rows], dtype=pl.String),
            "outcome": pl.Series([row[column] for row in rows], dtype=pl.Boolean),
        }
    )
    groups = [row.get(GROUP) for row in rows]
    return Outcomes(frame, _MEASURES[column], None if None in groups else number_groups(groups))


def _differing(answered: Sequence[Answers]) -> list[Tree]:
    """Return rows that two or more runs answered otherwise, in the order of the first run that has each."""
    found = []
    for row_id in dict.fromkeys(row_id for answers in answered for row_id in answers):
        known = [answers.get(row_id) for answers in answered]
        first = next(row for row in known if row is not None)
        same = [row if row is not None and _is_same(row, first) else None for row in known]
        if len({row["answer"] for row in same if row is not None}) > 1:
            found.append(
                {
                    "row_id": row_id,
                    "question": first["question"],
                    "reference": first["reference"],
                    "expected": first.get("expected") or [],
                    "answers": [row and row["answer"] for row in same],
                    "exact": [row and row["is_exact"] for row in same],
                    "holds_expected": [row and row.get("holds_expected") for row in same],
                }
            )
    return found
