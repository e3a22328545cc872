"""`ft30 data`: look at data, check it, clean it, version it, and find labels that are probably wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click

from finetune30.cli.data_source import (
    SOURCE_HELP,
    as_json_option,
    fetching_bar,
    print_json,
    read_request,
    source_options,
)
from finetune30.cli.data_tokens import tokens
from finetune30.cli.data_versions import versions
from finetune30.cli.named_option import named_option
from finetune30.cli.terminal_text import note
from finetune30.values import say_count

_model_option = click.option(
    "--model", metavar="NAME", help="Count tokens under this model's tokenizer ('starter', folder, hub name)."
)


@click.group("data")
def command() -> None:
    """Look at data, check it, clean it and version it."""


@command.command("analyze", epilog=SOURCE_HELP)
@source_options
@click.option("--against", metavar="SOURCE", help="Compare with another data set or version (drift).")
@_model_option
@click.option("--html", "html_file", metavar="FILE", type=click.Path(path_type=Path), help="Write a page with plots.")
@click.option(
    "--language", type=click.Choice(["en", "zh-TW"]), default="en", show_default=True, help="Language of the page."
)
@as_json_option
@click.pass_context
def analyze(
    context: click.Context,
    source: str | None,
    config_file: Path | None,
    against: str | None,
    model: str | None,
    html_file: Path | None,
    language: Literal["en", "zh-TW"],
    as_json: bool,
) -> None:
    """Count labels, lengths, words and duplicates; compare with other data; write a report."""
    from finetune30.service.datasets.reports import analyze_data
    from finetune30.settings import load_settings

    with fetching_bar() as bar:
        analysis = analyze_data(
            read_request(context, source, config_file),
            load_settings(),
            note,
            model=model,
            against=against,
            html_file=html_file,
            language=language,
            on_transfer=bar,
        )
    if as_json:
        print_json(analysis)
        return
    from finetune30.cli.data_tables import print_analysis

    print_analysis(analysis)


@command.command("validate", epilog=SOURCE_HELP)
@source_options
@_model_option
@click.option("--report", metavar="FILE", type=click.Path(path_type=Path), help="Write all findings as JSON.")
@click.option("--quarantine", metavar="FILE", type=click.Path(path_type=Path), help="Write the rows set aside (JSONL).")
@click.option("--examples", type=click.IntRange(0, 1000), default=3, show_default=True, help="Findings shown a rule.")
@as_json_option
@click.pass_context
def validate(
    context: click.Context,
    source: str | None,
    config_file: Path | None,
    model: str | None,
    report: Path | None,
    quarantine: Path | None,
    examples: int,
    as_json: bool,
) -> None:
    """Apply every rule and name each fault by file:line:column; exit code 1 when there are errors."""
    from finetune30.service.datasets.reports import check_data
    from finetune30.settings import load_settings

    with fetching_bar() as bar:
        checked = check_data(
            read_request(context, source, config_file),
            load_settings(),
            note,
            model=model,
            report_file=report,
            quarantine_file=quarantine,
            on_transfer=bar,
        )
    tree = checked.as_dict()
    if as_json:
        print_json(tree)
    else:
        from finetune30.cli.data_tables import print_findings

        print_findings(tree, checked.validation, examples)
    if tree["errors"]:
        context.exit(1)


@command.command("clean", epilog=SOURCE_HELP)
@source_options
@named_option(
    "output",
    also=["out"],
    metavar="FOLDER",
    type=click.Path(path_type=Path),
    required=True,
    help="Folder for the clean files.",
)
@click.option(
    "--recipe", metavar="FILE", type=click.Path(path_type=Path), help="YAML list of steps; else the default one."
)
@click.option(
    "--format", "format_name", type=click.Choice(["csv", "jsonl", "parquet"]), default="csv", show_default=True
)
@click.option("--overwrite", is_flag=True, help="Replace files that are already there.")
@as_json_option
@click.pass_context
def clean(
    context: click.Context,
    source: str | None,
    config_file: Path | None,
    output: Path,
    recipe: Path | None,
    format_name: str,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Run a cleaning recipe and write the clean rows as files."""
    from finetune30.service.datasets.reports import clean_data
    from finetune30.settings import load_settings

    with fetching_bar() as bar:
        tree = clean_data(
            read_request(context, source, config_file),
            load_settings(),
            note,
            output,
            recipe=recipe,
            format_name=format_name,
            overwrite=overwrite,
            on_transfer=bar,
        )
    if as_json:
        print_json(tree)
        return
    from finetune30.cli.data_tables import print_cleaning

    print_cleaning(tree)


@command.command(
    "suspects", epilog="RUN is an id, its beginning, a name, 'latest', or a model's NAME, NAME@alias, NAME:7."
)
@click.argument("run")
@click.option("--limit", type=click.IntRange(1, 100_000), default=20, show_default=True, help="Rows shown.")
@click.option(
    "--export", metavar="FILE", type=click.Path(path_type=Path), help="Write a CSV to review, for ft30 data relabel."
)
@click.option("--all", "everything", is_flag=True, help="Export every training row, not only the suspects.")
@click.option(
    "--folds",
    type=click.IntRange(2, 20),
    help="Judge each row by a model trained without it: as many trainings. Else the run's own model judges.",
)
@click.option("--device", metavar="NAME", help="Where to compute: auto, cpu, mps or cuda; left out: detected.")
@as_json_option
def suspects(
    run: str, limit: int, export: Path | None, everything: bool, folds: int | None, device: str | None, as_json: bool
) -> None:
    """Rank the training rows of a run whose label its model, or models that never saw them, disagree with."""
    from finetune30.service.suspects.suspects import export_suspects, find_suspects
    from finetune30.settings import load_settings

    found = find_suspects(load_settings(), run, note, device=device, folds=folds)
    if export is not None:
        count = export_suspects(found, export, everything=everything)
        note(f"{say_count(count, 'rows')} to review: {export}; fill in 'new_label', then: ft30 data relabel {export}")
    if as_json:
        print_json(found.as_dict(limit))
        return
    from finetune30.cli.data_tables import print_suspects

    print_suspects(found.as_dict(limit))


@command.command("relabel")
@click.argument("csv_file", metavar="CSV", type=click.Path(path_type=Path))
@click.option("--note", "note_text", metavar="TEXT", default="", help="What was reviewed and by whom.")
@click.option("--tag", metavar="NAME", help="Tag the new version; a tag of another version stays there.")
@as_json_option
def relabel(csv_file: Path, note_text: str, tag: str | None, as_json: bool) -> None:
    """Turn a reviewed CSV (from suspects --export) into a new version."""
    from finetune30.data.versions.storage import require_tag_name
    from finetune30.service.datasets.versions import tag_version
    from finetune30.service.suspects.suspects import apply_review
    from finetune30.settings import load_settings

    if tag is not None:
        require_tag_name(tag)
    settings = load_settings()
    result = apply_review(settings, csv_file, note=note_text)
    counts = f"{say_count(result['changed'], 'labels')} changed, {say_count(result['removed'], 'rows')} removed"
    if as_json:
        print_json(result)
    else:
        click.echo(f"version {result['digest'][:12]}: {counts}")
    if tag is not None:
        tag_version(settings, tag, result["digest"])
    if not as_json:
        click.echo(f"train on it: ft30 train --dataset version:{tag or result['digest'][:12]}")


command.add_command(tokens)
command.add_command(versions)
