"""Questions to a model, from arguments, standard input or a file: read as the run's training read its texts."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from finetune30.errors import DataError, DataFileError, UsageError
from finetune30.values import is_text, say_count

if TYPE_CHECKING:
    from finetune30.data.problem import Role
    from finetune30.data.sources.options import FileOptions
    from finetune30.data.sources.table import SourceTable

Tell = Callable[[str], None]

#: Why a question has no answer: said in its place.
NO_TOKENS = "the text gives the model nothing to read: it is blank, or its tokenizer drops all of it"
#: What one request may ask over HTTP: texts, characters of a text, turns of a conversation and its characters.
MOST_TEXTS, LONGEST_TEXT = 256, 20_000
MOST_MESSAGES, LONGEST_CONVERSATION = 1000, 200_000
#: Whose turns may stand in a conversation that asks.
ASKING_ROLES = ("system", "user", "assistant")
#: Endings of files that hold one question a line.
PLAIN_TEXT = (".txt", "")


@dataclass(frozen=True)
class Question:
    """A text, or a pair of texts; `row_id` says where it came from, `others` are the row's further cells by column."""

    text: str
    text_pair: str | None = None
    row_id: str | None = None
    others: Mapping[str, str | None] = field(default_factory=dict)


@dataclass(frozen=True)
class Asked:
    """What a run's problem reads: its columns of text, and the column that each was in the training's file.

    `columns` has an entry for every text that the training rows had; None: the run's record does not say.
    """

    roles: tuple[Role, ...]
    columns: Mapping[str, str] | None

    @property
    def reads_pairs(self) -> bool | None:
        """Whether a question is two texts; None where that is not known."""
        return None if self.columns is None else len(self.columns) > 1


def require_sides(asked: Asked, questions: Sequence[Question], *, give: str, leave: str) -> None:
    """Raise DataError for single texts to a model of pairs, and for pairs to a model of single texts.

    `give` says how to give a second text, `leave` how to do without.
    """
    for number, question in enumerate(questions, start=1):
        name = question.row_id or f"question {number}"
        if asked.columns is not None and asked.reads_pairs and question.text_pair is None:
            both = " and ".join(repr(column) for column in asked.columns.values())
            raise DataError(f"the model was trained on pairs of texts ({both}); {name} has one text", give)
        if asked.reads_pairs is False and question.text_pair is not None:
            raise DataError(f"the model was trained on single texts; {name} has two", leave)


@dataclass(frozen=True)
class QuestionFile:
    """A file read as questions.

    `available` are its columns, `columns` says from which of them each text was read (a text file has neither), `notes`
    how it was read where that was not as expected.
    """

    questions: list[Question]
    available: Sequence[str] = ()
    columns: Mapping[str, str] = field(default_factory=dict)
    notes: Sequence[str] = ()


def read_question_file(
    path: Path, asked: Asked, named: Mapping[str, str | None], options: FileOptions, *, name: str | None = None
) -> QuestionFile:
    """Read questions from a data file, or from a text file, one a line; a blank line is a question without text.

    `named`: key -> column, where somebody named one; else a text is in the column that the training had it in, or is
    detected where the file has none of that name; `options`: how to read the file; `name`: what messages call it.
    Raises DataError and DataFileError.
    """
    if path.suffix.lower() in PLAIN_TEXT:
        if not path.is_file():
            raise DataError(f"there is no file '{path}'", "check the path")
        notes: list[str] = []
        questions = _load_lines(path.read_bytes(), name or path.name, options.encoding, notes.append)
        return QuestionFile(questions, notes=notes)
    from finetune30.data.evidence import swallowed_lines
    from finetune30.data.sources.files import load_file

    table = load_file(path, name, options)
    said = [found.describe() for found in swallowed_lines([table])]
    chosen, notes = _choose_columns(table, asked, named)
    text, pair, *_ = *chosen.values(), None
    texts = table.frame[str(text)].fill_null("").to_list()
    pairs = table.frame[pair].fill_null("").to_list() if pair else [None] * len(texts)
    kept = [column for column in table.columns if column not in (text, pair)]
    others = table.frame.select(kept).to_dicts() if kept else [{} for _ in texts]
    questions = [Question(*row) for row in zip(texts, pairs, table.row_ids().to_list(), others, strict=True)]
    columns = {role: column for role, column in chosen.items() if column is not None}
    return QuestionFile(questions, table.columns, columns, [*table.notes, *said, *notes])


def load_arguments(
    texts: Sequence[str], pairs: Sequence[str] = (), encoding: str | None = None, tell: Tell = lambda _: None
) -> list[Question]:
    """Return a question for every text of a command line; `pairs` are the second texts, as many or none.

    Bytes that the shell's encoding does not know are decoded as those of a file are. Raises UsageError, DataFileError.
    """
    if pairs and len(pairs) != len(texts):
        raise UsageError(
            f"{say_count(len(texts), 'texts')} but {say_count(len(pairs), 'second texts')}",
            "give --text_pair once for each text",
        )
    with _naming_flags():
        first = [_decode_argument(text, f"text {n}", encoding, tell) for n, text in enumerate(texts, start=1)]
        second = [_decode_argument(text, f"second text {n}", encoding, tell) for n, text in enumerate(pairs, start=1)]
    return [Question(text, second[number] if second else None) for number, text in enumerate(first)]


def load_stream(stream: BinaryIO, encoding: str | None = None, tell: Tell = lambda _: None) -> list[Question]:
    """Return a question for every line of standard input, read as a text file is. Raises DataFileError."""
    with _naming_flags():
        return _load_lines(stream.read(), "standard input", encoding, tell)


def load_questions(
    path: Path,
    asked: Asked,
    named: Mapping[str, str | None],
    options: FileOptions,
    tell: Tell = lambda _: None,
) -> list[Question]:
    """Read the file of a command line (`read_question_file`); `tell` takes what is to be said about it."""
    with _naming_flags():
        read = read_question_file(path, asked, named, options)
    for note in read.notes:
        tell(note)
    return read.questions


def _choose_columns(
    table: SourceTable, asked: Asked, named: Mapping[str, str | None]
) -> tuple[dict[str, str | None], list[str]]:
    """Return the file's column of each text: as named, else as trained, else detected; and what to say of those."""
    from finetune30.data.columns import detect_columns

    trained = asked.columns or {}
    roles = [role for role in asked.roles if asked.columns is None or role.name in trained or named.get(role.key)]
    known = {role.key: named.get(role.key) for role in roles}
    for role in roles:
        column = trained.get(role.name)
        if known[role.key] is None and column in table.columns and column not in known.values():
            known[role.key] = column
    chosen = dict(detect_columns(table, roles, known).chosen)
    notes = [
        f"there is no column {trained[role.name]!r} as in the training: {role.name} is read from "
        f"{chosen[role.name]!r} (to say otherwise, name {role.key})"
        for role in roles
        if known[role.key] is None and chosen[role.name] is not None and role.name in trained
    ]
    return chosen, notes


def _load_lines(content: bytes, name: str, encoding: str | None, tell: Tell) -> list[Question]:
    """Return one question a line, without the white space around it; only line ends end a line."""
    lines = _decode(content, name, encoding, tell).split("\n")
    if not lines[-1]:
        lines.pop()  # what follows the last line end
    return [Question(line.strip(), row_id=f"line:{number}") for number, line in enumerate(lines, start=1)]


def _decode_argument(text: str, name: str, encoding: str | None, tell: Tell) -> str:
    """Return an argument as text: bytes that are none in the shell's encoding come as halves of characters."""
    return text if is_text(text) else _decode(os.fsencode(text), name, encoding, tell)


def _decode(content: bytes, name: str, encoding: str | None, tell: Tell) -> str:
    """Decode bytes by the rules for files of data, which look at a file."""
    from finetune30.data.sources.encodings import read_decoded

    with tempfile.TemporaryDirectory(prefix="ft30-") as folder:
        path = Path(folder) / "text"
        path.write_bytes(content)
        text, _, notes = read_decoded(path, name, encoding, lambda codec: path.read_text(encoding=codec))
    for note in notes:
        tell(f"{name}: {note}")
    return text


@contextmanager
def _naming_flags() -> Iterator[None]:
    """Let remedies name flags in the place of keys of a configuration, which a command line of questions has not."""
    try:
        yield
    except DataFileError as error:
        error.remedy = re.sub(r"\bdata\.(encoding|sheet|text_column|text_pair_column)\b", r"--\1", error.remedy)
        raise
