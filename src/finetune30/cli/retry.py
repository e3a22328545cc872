"""`ft30 retry`: queue a run again."""

from __future__ import annotations

import click

from finetune30.cli.run_options import RUN_HELP
from finetune30.cli.terminal_text import describe_place, tell_notes


@click.command("retry", epilog=RUN_HELP)
@click.argument("run")
def command(run: str) -> None:
    """Queue a FAILED or CANCELLED run for the workers again; it goes on from its last checkpoint."""
    from finetune30.jobs.publishing import QueuePublisher
    from finetune30.service.runs.open_records import open_records, require_records
    from finetune30.service.submitting.submission import retry_task
    from finetune30.settings import load_settings

    settings = load_settings()
    require_records(settings)
    with open_records(settings) as records, QueuePublisher(settings) as publisher:
        done = retry_task(records.store, run, publisher=publisher, most_running=settings.max_running_runs)
    tell_notes(done.notes)
    click.echo(f"{done.run.folder}: {describe_place(done.queue_position)}")
