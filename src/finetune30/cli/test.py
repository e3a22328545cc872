"""`ft30 test`: open the test rows of a finished run, once more, and say what it is worth on them."""

from __future__ import annotations

import json
from pathlib import Path

import click

from finetune30.cli.run_options import RUN_HELP, output_dir_option
from finetune30.cli.terminal_text import show_controls, tell


@click.command("test", epilog=RUN_HELP)
@click.argument("run")
@click.option("--device", help="Where to evaluate, in the place of the run's own device.")
@click.option("--show", is_flag=True, help="Show the looks so far; open nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print the looks as JSON.")
@output_dir_option
def command(run: str, device: str | None, show: bool, as_json: bool, output_dir: Path | None) -> None:
    """Evaluate a finished run on the rows that are kept for its test.

    Nothing has read these rows before: no training, no choice of weights, no setting. Every look is counted, also one
    that fails or is killed, and shown with the run: what is chosen after the first look is chosen by these rows too.
    """
    from finetune30.service.runs.open_records import open_records, require_records
    from finetune30.service.runs.test_looks import build_look_blocks
    from finetune30.settings import load_settings
    from finetune30.store.test_looks import load_looks

    settings = load_settings()
    if not show:
        from finetune30.service.testing.look import look_at_test_rows

        look_at_test_rows(settings, run, lambda line: tell(show_controls(line)), device=device, output_dir=output_dir)
    require_records(settings, output_dir)
    with open_records(settings, output_dir) as records:
        found = records.store.get(run)
        looks = load_looks(records.store, [found.id])[found.id]
    if as_json:
        click.echo(json.dumps([look.as_dict() for look in looks], indent=2, ensure_ascii=False))
        return
    if not looks:
        click.echo("The test rows were never opened.")
        return
    from finetune30.blocks import as_tree
    from finetune30.cli.blocks import print_blocks
    from finetune30.cli.run_tables import build_console

    print_blocks(build_console(), [as_tree(block) for block in build_look_blocks(looks)])
