"""Questions to a finished run's model, and its answers."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetune30.errors import DataError, UsageError
from finetune30.problems import load_problem
from finetune30.problems.trainables import load_trainable
from finetune30.service.runs.details import require_intact_model, require_model
from finetune30.service.runs.open_records import open_records, require_records
from finetune30.settings import Settings
from finetune30.values import encode_csv, is_text

if TYPE_CHECKING:
    from finetune30.data.problem import Role
    from finetune30.data.sources.options import FileOptions
    from finetune30.modeling.predictor import Predictor
    from finetune30.training.problem import Answer, Trainable

_PLAIN_TEXT = (".txt", "")
#: Endings of files of answers.
_ANSWER_FILES = (".csv", ".jsonl", ".parquet")


@dataclass(frozen=True)
class Question:
    """A text, or a pair of texts; `row_id` says where it came from."""

    text: str
    text_pair: str | None = None
    row_id: str | None = None


@dataclass(frozen=True)
class Answered:
    """A question with the model's answer."""

    question: Question
    answer: Answer

    def as_dict(self) -> dict[str, Any]:
        """Return what is there, as JSON values."""
        asked = {"row_id": self.question.row_id, "text": self.question.text, "text_pair": self.question.text_pair}
        return {key: value for key, value in asked.items() if value is not None} | self.answer.tree


@dataclass(frozen=True)
class LoadedModel:
    """A finished run's model, and what it learnt."""

    predictor: Predictor
    problem: Trainable


def predict(
    settings: Settings,
    output_dir: Path | None,
    run_name: str,
    questions: list[Question],
    *,
    device: str | None = None,
    batch_size: int = 32,
) -> list[Answered]:
    """Answer the questions with the model of a SUCCEEDED run, in their order.

    Raises NotFoundError, ConflictError (the run has no model), StorageError (its files are damaged) and
    UsageError (no questions).
    """
    if not questions:
        raise UsageError("there is nothing to predict", "give texts, --file FILE, or lines on standard input")
    return answer_questions(load_model(settings, output_dir, run_name, device), questions, batch_size)


def load_model(settings: Settings, output_dir: Path | None, run_name: str, device: str | None = None) -> LoadedModel:
    """Load the model of a SUCCEEDED run, in fp32 on a CPU and in the device's own precision elsewhere.

    Raises StorageError when its files are not as they were published.
    """
    require_records(settings, output_dir)
    with open_records(settings, output_dir) as records:
        run = require_model(records.store.get(run_name))
        folder = require_intact_model(records, run)
    from finetune30.modeling.devices import choose_placement
    from finetune30.modeling.predictor import Predictor
    from finetune30.modeling.saving import load_targets

    described = load_targets(folder)
    problem = load_trainable(described["problem_type"], described["targets"])
    placement = choose_placement(device, "auto")
    placement = choose_placement("cpu", "fp32") if placement.device == "cpu" else placement
    return LoadedModel(Predictor(folder, placement, problem.load_saved), problem)


def answer_questions(model: LoadedModel, questions: list[Question], batch_size: int = 32) -> list[Answered]:
    """Answer with a loaded model. Raises DataError for what is no text, and for pairs beside single texts."""
    for number, question in enumerate(questions, start=1):
        if not is_text(question.text) or not (question.text_pair is None or is_text(question.text_pair)):
            raise DataError(
                f"question {number} holds what is no text: bytes that are not UTF-8, or half of a character",
                "give it as UTF-8",
            )
    pairs = [question.text_pair for question in questions]
    if any(pair is None for pair in pairs) and any(pair is not None for pair in pairs):
        raise DataError("some questions have a second text and some have none", "give all of them one, or none")
    texts = [question.text for question in questions]
    given = [pair or "" for pair in pairs] if pairs[0] is not None else None
    answers = model.problem.answer(model.predictor, texts, given, batch_size)
    return [Answered(*both) for both in zip(questions, answers, strict=True)]


def load_lines(lines: Iterable[str]) -> list[Question]:
    """Return one question for every line that is not blank."""
    return [
        Question(line.strip(), row_id=f"line:{number}") for number, line in enumerate(lines, start=1) if line.strip()
    ]


def text_roles(settings: Settings, output_dir: Path | None, run_name: str) -> tuple[Role, ...]:
    """Return the columns of text that a run's problem reads. Raises NotFoundError and ConflictError (no model)."""
    require_records(settings, output_dir)
    with open_records(settings, output_dir) as records:
        run = require_model(records.store.get(run_name))
    problem = load_problem((run.metrics or {})["problem_type"])
    return tuple(role for role in problem.columns if role.kind == "text")


def load_questions(
    path: Path,
    roles: Sequence[Role],
    named: Mapping[str, str | None],
    options: FileOptions | None = None,
    tell: Callable[[str], None] = lambda _: None,
) -> list[Question]:
    """Read questions from a data file, or from a text file, one a line.

    `roles` are the columns of text, a first one and at most a second; `named`: key -> column, where the user named
    one, the others are detected; `options`: how to read the file; `tell` takes what is to be said about it.
    Raises DataError and DataFileError.
    """
    if path.suffix.lower() in _PLAIN_TEXT:
        if not path.is_file():
            raise DataError(f"there is no file '{path}'", "check the path")
        return _load_lines(path, options, tell)
    from finetune30.data.columns import detect_columns
    from finetune30.data.evidence import swallowed_lines
    from finetune30.data.sources.files import load_file
    from finetune30.data.sources.options import NO_OPTIONS

    table = load_file(path, options=options or NO_OPTIONS)
    for note in (*table.notes, *(found.describe() for found in swallowed_lines([table]))):
        tell(note)
    text, pair, *_ = *detect_columns(table, roles, named).chosen.values(), None
    texts = table.frame[str(text)].fill_null("").to_list()
    pairs = table.frame[pair].fill_null("").to_list() if pair else [None] * len(texts)
    return [Question(*row) for row in zip(texts, pairs, table.row_ids().to_list(), strict=True)]


def require_answer_file(path: Path) -> None:
    """Raise UsageError unless the ending is one of those that `save_answers` writes."""
    if path.suffix.lower() not in _ANSWER_FILES:
        raise UsageError(f"--output {path}: '{path.suffix}' is not written", "end the name in .csv, .jsonl or .parquet")


def save_answers(path: Path, answers: list[Answered]) -> None:
    """Write questions and the cells of their answers to CSV, JSONL or Parquet, told from the ending.

    In a CSV an apostrophe stands before what a spreadsheet would run; the other formats keep every value as it is.
    Raises UsageError for another ending.
    """
    require_answer_file(path)
    import polars as pl

    from finetune30.files import save_bytes_atomic

    rows = [{**asdict(answered.question), **answered.answer.cells} for answered in answers]
    order = ["row_id", "text", "text_pair", *(answers[0].answer.cells if answers else ())]
    frame = pl.DataFrame(rows, infer_schema_length=None).select(order)
    buffer = io.BytesIO()
    if path.suffix.lower() == ".csv":
        buffer.write(encode_csv(frame.columns, frame.iter_rows()).encode())
    elif path.suffix.lower() == ".jsonl":
        frame.write_ndjson(buffer)
    else:
        frame.write_parquet(buffer)
    save_bytes_atomic(path, buffer.getvalue())


def _load_lines(path: Path, options: FileOptions | None, tell: Callable[[str], None]) -> list[Question]:
    """Read one question a line, in UTF-8 or what the file turns out to be; only line ends end a line."""
    from finetune30.data.sources.encodings import read_decoded

    encoding = None if options is None else options.encoding
    text, _, notes = read_decoded(path, path.name, encoding, lambda codec: path.read_text(encoding=codec))
    for note in notes:
        tell(note)
    return load_lines(text.split("\n"))
