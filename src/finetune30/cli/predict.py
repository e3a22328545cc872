"""`ft30 predict`: answers of a finished run's model for texts from arguments, a file or standard input."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from finetune30.cli.config_options import given_keys, reading_options
from finetune30.cli.named_option import named_option
from finetune30.cli.run_options import output_dir_option
from finetune30.values import say_count

if TYPE_CHECKING:
    from finetune30.data.questions import Question
    from finetune30.settings import Settings


@click.command(
    "predict",
    epilog='Example: ft30 predict latest "a quiet, lovely film"   or   ft30 predict latest --file new.csv --json',
)
@click.argument("run")
@click.argument("texts", nargs=-1)
@named_option(
    "text_pair",
    to="text_pairs",
    metavar="TEXT",
    multiple=True,
    help="Second text, for a model of pairs; once for each text, in their order.",
)
@click.option("--file", "file", metavar="FILE", type=click.Path(path_type=Path), help="A data file, or plain text.")
@reading_options("encoding", "sheet", "text_column", "text_pair_column")
@click.option(
    "--output",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Write the answers to this CSV, JSONL or Parquet file.",
)
@named_option(
    "batch_size", type=click.IntRange(1, 4096), default=32, show_default=True, help="Texts in one forward pass."
)
@click.option("--device", metavar="NAME", help="Where to compute: auto, cpu, mps or cuda; left out: detected.")
@output_dir_option
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@click.pass_context
def command(
    context: click.Context,
    run: str,
    texts: tuple[str, ...],
    text_pairs: tuple[str, ...],
    file: Path | None,
    output: Path | None,
    batch_size: int,
    device: str | None,
    output_dir: Path | None,
    as_json: bool,
) -> None:
    """Ask the model of RUN (id, folder, name, latest, NAME@alias or NAME:7).

    Without texts or a file, every line of standard input is asked.

    A file is read from the columns that the training had its texts in; its other columns come along into --output.
    """
    from finetune30.cli.terminal_text import note
    from finetune30.service.models.answer_files import require_answer_file, save_answers
    from finetune30.service.models.predict import predict, say_missing
    from finetune30.settings import load_settings

    if output is not None:
        require_answer_file(output)
    settings = load_settings()
    questions = _load_questions(context, settings, run, texts, text_pairs, file, output_dir)
    answers = predict(settings, output_dir, run, questions, device=device, batch_size=batch_size)
    for missing in say_missing(answers):
        note(missing)
    if output is not None:
        save_answers(output, answers)
        click.echo(f"{say_count(len(answers), 'answers')}: {output}")
        return
    for answer in answers:
        plain = f"{answer.line}\t{answer.question.text}"
        click.echo(json.dumps(answer.as_dict(), ensure_ascii=False) if as_json else plain)


def _load_questions(
    context: click.Context,
    settings: Settings,
    run: str,
    texts: tuple[str, ...],
    text_pairs: tuple[str, ...],
    file: Path | None,
    output_dir: Path | None,
) -> list[Question]:
    """Return what the command line, the file or standard input asks."""
    from finetune30.cli.terminal_text import tell_notes
    from finetune30.data.questions import load_arguments, load_questions, load_stream
    from finetune30.data.sources.options import FileOptions
    from finetune30.errors import UsageError
    from finetune30.service.runs.asked_texts import describe_texts

    def tell(note: str) -> None:
        tell_notes([note])

    reading = {key.removeprefix("data."): value for key, value in given_keys(context).items()}
    encoding = _known_encoding(reading.get("encoding"))
    if file is not None and (texts or text_pairs):
        raise UsageError("texts and --file cannot both be asked", "give one of them")
    if file is not None:
        named = {key: reading.get(key) for key in ("text_column", "text_pair_column")}
        options = FileOptions(encoding, reading.get("sheet"))
        return load_questions(file, describe_texts(settings, output_dir, run), named, options, tell)
    if texts or text_pairs:
        return load_arguments(texts, text_pairs, encoding, tell)
    return load_stream(sys.stdin.buffer, encoding, tell)


def _known_encoding(name: str | None) -> str | None:
    from finetune30.config.text_encodings import require_encoding

    try:
        return None if name is None else require_encoding(name)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--encoding") from None
