"""`ft30 predict`: answers of a finished run's model for texts from arguments, a file or standard input."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from finetune30.service.models.predict import Answered


@click.command(
    "predict",
    epilog='Example: ft30 predict latest "a quiet, lovely film"   or   ft30 predict latest --file new.csv --json',
)
@click.argument("run")
@click.argument("texts", nargs=-1)
@click.option("--file", "file", type=click.Path(path_type=Path), help="A data file, or plain text.")
@click.option("--encoding", help="Encoding of the file, where it is not UTF-8.")
@click.option("--sheet", help="Sheet of a workbook, or file inside of a .zip.")
@click.option("--text_column", "--text-column", help="Column of the text; left out: detected.")
@click.option("--text_pair_column", "--text-pair-column", help="Column of the second text.")
@click.option("--output", type=click.Path(path_type=Path), help="Write the answers to this CSV, JSONL or Parquet file.")
@click.option("--batch_size", "--batch-size", type=click.IntRange(1, 4096), default=32, show_default=True)
@click.option("--device", help="cuda, mps or cpu; left out: detected.")
@click.option("--output_dir", "--output-dir", type=click.Path(path_type=Path), help="Folder of the runs.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def command(
    run: str,
    texts: tuple[str, ...],
    file: Path | None,
    encoding: str | None,
    sheet: str | None,
    text_column: str | None,
    text_pair_column: str | None,
    output: Path | None,
    batch_size: int,
    device: str | None,
    output_dir: Path | None,
    as_json: bool,
) -> None:
    """Ask the model of RUN (id, folder, name or latest); without texts or a file, every line of standard input."""
    from finetune30.cli.terminal_text import tell_notes
    from finetune30.data.sources.options import FileOptions
    from finetune30.service.models.predict import (
        Question,
        load_lines,
        load_questions,
        predict,
        require_answer_file,
        save_answers,
        text_roles,
    )
    from finetune30.settings import load_settings

    if output is not None:
        require_answer_file(output)
    settings = load_settings()
    if file is not None:
        named = {"text_column": text_column, "text_pair_column": text_pair_column}
        options = FileOptions(_known_encoding(encoding), sheet)
        roles = text_roles(settings, output_dir, run)
        questions = load_questions(file, roles, named, options, lambda note: tell_notes([note]))
    else:
        questions = [Question(text) for text in texts] if texts else load_lines(sys.stdin)
    answers = predict(settings, output_dir, run, questions, device=device, batch_size=batch_size)
    if output is not None:
        save_answers(output, answers)
        click.echo(f"{len(answers)} answers: {output}")
        return
    for answer in answers:
        click.echo(json.dumps(answer.as_dict(), ensure_ascii=False) if as_json else _line(answer))


def _known_encoding(name: str | None) -> str | None:
    from finetune30.config.text_encodings import require_encoding

    try:
        return None if name is None else require_encoding(name)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--encoding") from None


def _line(answered: Answered) -> str:
    return f"{answered.answer.line}\t{answered.question.text}"
