"""`ft30 test`: open the test rows of a finished run and say what it is worth on them; of two, which is better."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from finetune30.cli.run_options import RUN_HELP, output_dir_option
from finetune30.cli.terminal_text import show_controls, tell
from finetune30.values import say_count

if TYPE_CHECKING:
    from finetune30.settings import Settings


@click.command("test", epilog=RUN_HELP)
@click.argument("run")
@click.argument("other", required=False, metavar="[RUN]")
@click.option("--device", help="Where to evaluate, in the place of the run's own device.")
@click.option("--show", is_flag=True, help="Show the looks so far; open nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print the looks as JSON.")
@output_dir_option
def command(
    run: str, other: str | None, device: str | None, show: bool, as_json: bool, output_dir: Path | None
) -> None:
    """Evaluate a finished run on the rows that are kept for its test.

    Nothing has read these rows before: no training, no choice of weights, no setting. Every look is counted, also one
    that fails or is killed, and shown with the run: what is chosen after the first look is chosen by these rows too.

    Two runs that keep the same rows for a test are each looked at once more, and compared row by row: whether one is
    better by more than chance.
    """
    from finetune30.errors import UsageError
    from finetune30.service.runs.open_records import open_records, require_records
    from finetune30.service.runs.test_looks import build_look_blocks
    from finetune30.settings import load_settings
    from finetune30.store.test_looks import load_looks

    settings = load_settings()
    if other is not None:
        if show:
            raise UsageError("--show shows the looks of one run", "name one run")
        _compare(settings, (run, other), device, output_dir, as_json=as_json)
        return
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


def _compare(
    settings: Settings, runs: tuple[str, str], device: str | None, output_dir: Path | None, *, as_json: bool
) -> None:
    from finetune30.service.testing.pairing import compare_on_test_rows

    found = compare_on_test_rows(
        settings, runs, lambda line: tell(show_controls(line)), device=device, output_dir=output_dir
    )
    if as_json:
        click.echo(json.dumps(found, indent=2, ensure_ascii=False))
        return
    click.echo(show_controls(f"test rows: {found['pair']['message']}"))
    counts = [look["count"] for look in found["looks"]]
    if max(counts) > 1:
        click.echo(
            f"looked at {counts[0]} and {say_count(counts[1], 'times')}: what was chosen after a look is chosen by "
            f"them too"
        )
