"""`ft30 train`: load the configuration, train in this process or in several, print where the results are."""

from __future__ import annotations

from pathlib import Path

import click

from finetune30.cli.config_options import config_options, load_from_flags
from finetune30.cli.named_option import named_option
from finetune30.cli.terminal_text import tell_notes
from finetune30.config.loading import dump_config


@click.command("train", epilog="Example: ft30 train --preset starter --experiment_name first --epochs 3")
@config_options
@named_option("dry_run", is_flag=True, help="Print the resolved configuration and stop.")
@click.pass_context
def command(context: click.Context, config_file: Path | None, preset: str | None, dry_run: bool) -> None:
    """Train a model and record the run.

    Every key of the configuration is a flag: --training.weight_decay 0.01, --lora.r 16 …
    """
    loaded = load_from_flags(context, config_file, preset)
    tell_notes(loaded.notes)
    if dry_run:
        click.echo(dump_config(loaded.config), nl=False)
        return
    from finetune30.cli.results import print_results
    from finetune30.service.execution.local import train_locally
    from finetune30.service.execution.starting import count_to_start, start_together
    from finetune30.settings import load_settings

    if count := count_to_start(lambda: loaded.config.training.processes):
        context.exit(start_together(context.obj, count))
    finished = train_locally(loaded, load_settings())
    if finished is not None:
        print_results(finished.run_id, finished.name, finished.folder, finished.metrics)
