"""Questions to a finished run's model, and its answers."""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from finetune30.errors import DataError, UsageError
from finetune30.service.runs.details import require_intact_model, require_model
from finetune30.service.runs.open_records import open_records, require_records
from finetune30.settings import Settings

if TYPE_CHECKING:
    from finetune30.modeling.predictor import Predictor

_PLAIN_TEXT = (".txt", "")
#: Ending of an answer file -> the method of a polars frame that writes it.
_WRITERS = {".csv": "write_csv", ".jsonl": "write_ndjson", ".parquet": "write_parquet"}


@dataclass(frozen=True)
class Question:
    """A text, or a pair of texts; `row_id` says where it came from."""

    text: str
    text_pair: str | None = None
    row_id: str | None = None


@dataclass(frozen=True)
class Answer:
    """`labels` holds one name (single-label) or any number (multi-label); `value` is set for regression only."""

    text: str
    text_pair: str | None
    row_id: str | None
    labels: tuple[str, ...]
    probabilities: dict[str, float]
    value: float | None

    def as_dict(self) -> dict[str, Any]:
        """Return what is there, as JSON values."""
        shape: dict[str, Any] = {"row_id": self.row_id, "text": self.text, "text_pair": self.text_pair}
        if self.value is not None:
            shape["value"] = self.value
        else:
            shape |= {"labels": list(self.labels), "probabilities": self.probabilities}
        return {key: value for key, value in shape.items() if value is not None}


def predict(
    settings: Settings,
    output_dir: Path | None,
    run_name: str,
    questions: list[Question],
    *,
    device: str | None = None,
    batch_size: int = 32,
) -> list[Answer]:
    """Answer the questions with the model of a SUCCEEDED run, in their order.

    Raises NotFoundError, ConflictError (the run has no model), StorageError (its files are damaged) and
    UsageError (no questions).
    """
    if not questions:
        raise UsageError("there is nothing to predict", "give texts, --file FILE, or lines on standard input")
    predictor = load_predictor(settings, output_dir, run_name, device)
    return answer_questions(predictor, questions, batch_size)


def load_predictor(settings: Settings, output_dir: Path | None, run_name: str, device: str | None = None) -> Predictor:
    """Load the model of a SUCCEEDED run, in fp32 on a CPU and in the device's own precision elsewhere.

    Raises StorageError when its files are not as they were published.
    """
    require_records(settings, output_dir)
    with open_records(settings, output_dir) as records:
        run = require_model(records.store.get(run_name))
        folder = require_intact_model(records, run)
    from finetune30.modeling.devices import choose_placement
    from finetune30.modeling.predictor import Predictor

    placement = choose_placement(device, "auto")
    return Predictor(folder, choose_placement("cpu", "fp32") if placement.device == "cpu" else placement)


def answer_questions(predictor: Predictor, questions: list[Question], batch_size: int = 32) -> list[Answer]:
    """Answer with a loaded model."""
    pairs = [question.text_pair for question in questions]
    if any(pair is None for pair in pairs) and any(pair is not None for pair in pairs):
        raise DataError("some questions have a second text and some have none", "give all of them one, or none")
    texts = [question.text for question in questions]
    logits = predictor.answer_logits(texts, [p or "" for p in pairs] if pairs[0] is not None else None, batch_size)
    return [_answer(predictor, *both) for both in zip(questions, logits, strict=True)]


def load_lines(lines: Iterable[str]) -> list[Question]:
    """Return one question for every line that is not blank."""
    return [
        Question(line.strip(), row_id=f"line:{number}") for number, line in enumerate(lines, start=1) if line.strip()
    ]


def load_questions(path: Path, text_column: str | None, text_pair_column: str | None) -> list[Question]:
    """Read questions from a data file (columns named or detected), or from a text file, one a line.

    Raises DataError and DataFileError.
    """
    if path.suffix.lower() in _PLAIN_TEXT:
        if not path.is_file():
            raise DataError(f"there is no file '{path}'", "check the path")
        return load_lines(_load_text(path).splitlines())
    from finetune30.data.columns import detect_text_columns
    from finetune30.data.sources.files import load_file

    table = load_file(path)
    text, pair = detect_text_columns(table, text_column, text_pair_column)
    texts = table.frame[text].fill_null("").to_list()
    pairs = table.frame[pair].fill_null("").to_list() if pair else [None] * len(texts)
    return [Question(*row) for row in zip(texts, pairs, table.row_ids().to_list(), strict=True)]


def require_answer_file(path: Path) -> None:
    """Raise UsageError unless the ending is one of those that `save_answers` writes."""
    if path.suffix.lower() not in _WRITERS:
        raise UsageError(f"--output {path}: '{path.suffix}' is not written", "end the name in .csv, .jsonl or .parquet")


def save_answers(path: Path, answers: list[Answer]) -> None:
    """Write answers to CSV, JSONL or Parquet, told from the ending: one column a label's probability.

    Raises UsageError for another ending.
    """
    require_answer_file(path)
    import polars as pl

    from finetune30.files import save_bytes_atomic

    rows = []
    for answer in answers:
        row: dict[str, Any] = {"row_id": answer.row_id, "text": answer.text, "text_pair": answer.text_pair}
        if answer.value is not None:
            row["value"] = answer.value
        else:
            row["prediction"] = "|".join(answer.labels)
            row |= {f"p_{name}": probability for name, probability in answer.probabilities.items()}
        rows.append(row)
    frame = pl.DataFrame(rows, infer_schema_length=None)
    buffer = io.BytesIO()
    getattr(frame, _WRITERS[path.suffix.lower()])(buffer)
    save_bytes_atomic(path, buffer.getvalue())


def _load_text(path: Path) -> str:
    from finetune30.data.sources.table import invalid_utf8

    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise invalid_utf8(path.name, path) from None


def _answer(predictor: Predictor, question: Question, logits: NDArray[np.float32]) -> Answer:
    from finetune30.training.metrics import probabilities

    names = predictor.label_names
    asked = (question.text, question.text_pair, question.row_id)
    if predictor.problem_type == "regression":
        return Answer(*asked, (), {}, float(logits[0]))
    shares = probabilities(logits[None, :], predictor.problem_type)[0]
    if predictor.problem_type == "multi_label_classification":
        chosen = tuple(name for name, share in zip(names, shares, strict=True) if share > 0.5)
    else:
        chosen = (names[int(shares.argmax())],)
    return Answer(*asked, chosen, {name: round(float(s), 6) for name, s in zip(names, shares, strict=True)}, None)
