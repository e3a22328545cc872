"""Files of answers: a row for each question, with its place, its texts, the answer and the file's other columns."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetune30.data.questions import NO_TOKENS
from finetune30.errors import UsageError
from finetune30.values import encode_csv

if TYPE_CHECKING:
    from finetune30.service.models.predict import Answered

#: Endings of files of answers.
_ANSWER_FILES = (".csv", ".jsonl", ".parquet")
#: What stands before the name of a column of the asked file that an answer has too.
_GIVEN = "file_"
_NO_ANSWER = "no_answer"


def require_answer_file(path: Path) -> None:
    """Raise UsageError unless the ending is one of those that `save_answers` writes."""
    if path.suffix.lower() not in _ANSWER_FILES:
        raise UsageError(f"--output {path}: '{path.suffix}' is not written", "end the name in .csv, .jsonl or .parquet")


def save_answers(path: Path, answers: Sequence[Answered]) -> None:
    """Write questions and the cells of their answers to CSV, JSONL or Parquet, told from the ending.

    The other columns of the asked file follow; one that is called like a cell of the answer gets `file_` before its
    name. `no_answer` says why a question has none; the column is there where one has none. In a CSV an apostrophe
    stands before what a spreadsheet would run; the other formats keep every value as it is. Raises UsageError for
    another ending.
    """
    require_answer_file(path)
    import polars as pl

    from finetune30.files import save_bytes_atomic

    own = _own_columns(answers)
    others = _name_others(own, answers)
    rows = [_row(answered, others) for answered in answers]
    frame = pl.DataFrame(rows, infer_schema_length=None).select(*own, *others.values())
    buffer = io.BytesIO()
    if path.suffix.lower() == ".csv":
        buffer.write(encode_csv(frame.columns, frame.iter_rows()).encode())
    elif path.suffix.lower() == ".jsonl":
        frame.write_ndjson(buffer)
    else:
        frame.write_parquet(buffer)
    save_bytes_atomic(path, buffer.getvalue())


def _own_columns(answers: Sequence[Answered]) -> list[str]:
    cells = dict.fromkeys(name for answered in answers if answered.answer for name in answered.answer.cells)
    if any(answered.answer is None for answered in answers):
        cells[_NO_ANSWER] = None
    return ["row_id", "text", "text_pair", *cells]


def _name_others(own: Sequence[str], answers: Sequence[Answered]) -> dict[str, str]:
    """Return the other columns of the asked file and what each is called beside the `own` ones."""
    others = list(dict.fromkeys(name for answered in answers for name in answered.question.others))
    taken, names = {*own, *others}, {}
    for name in others:
        given = name
        while given in own or (given != name and given in taken):
            given = f"{_GIVEN}{given}"
        taken.add(given)
        names[name] = given
    return names


def _row(answered: Answered, others: Mapping[str, str]) -> dict[str, Any]:
    question, answer = answered.question, answered.answer
    row: dict[str, Any] = {"row_id": question.row_id, "text": question.text, "text_pair": question.text_pair}
    row |= {_NO_ANSWER: NO_TOKENS} if answer is None else answer.cells
    return row | {given: question.others.get(name) for name, given in others.items()}
