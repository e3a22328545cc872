"""`ft30 submit`: hand a run over to the workers."""

from __future__ import annotations

from pathlib import Path

import click

from finetune30.cli.config_options import config_options, load_from_flags
from finetune30.cli.named_option import named_option
from finetune30.cli.terminal_text import describe_place, tell_notes


@click.command("submit", epilog="Example: ft30 submit --experiment_name test_async --epochs 1")
@config_options
@click.option("--priority", type=click.IntRange(-100, 100), default=0, show_default=True, help="Higher is earlier.")
@named_option("idempotency_key", metavar="KEY", help="The same key never makes a second run.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def command(
    context: click.Context,
    config_file: Path | None,
    preset: str | None,
    priority: int,
    idempotency_key: str | None,
    as_json: bool,
) -> None:
    """Hand a run over to the workers; it has the same flags as `ft30 train`.

    When the command returns, the run is recorded and will be carried out, also if Redis is down at the moment.
    """
    import json

    from finetune30.config.loading import LoadedConfig
    from finetune30.jobs.publishing import QueuePublisher
    from finetune30.service.submitting.status import describe_task
    from finetune30.service.submitting.submission import digest_request, submit
    from finetune30.settings import load_settings
    from finetune30.store import open_store

    loaded: LoadedConfig = load_from_flags(context, config_file, preset)
    settings = load_settings()
    store = open_store(settings.resolved_database_url)
    try:
        with QueuePublisher(settings) as publisher:
            done = submit(
                store,
                loaded.config,
                settings,
                publisher=publisher,
                explicit=loaded.explicit,
                priority=priority,
                idempotency_key=idempotency_key,
                request_sha256=digest_request(loaded.config.as_tree()) if idempotency_key else None,
            )
    finally:
        store.close()
    tell_notes((*loaded.notes, *done.notes))
    if as_json:
        click.echo(json.dumps(describe_task(done.run, done.queue_position), indent=2, ensure_ascii=False))
        return
    click.echo(f"task_id: {done.run.id}")
    click.echo(f"{done.run.folder}: {describe_place(done.queue_position)}")
    click.echo(f"follow it:  ft30 runs logs {done.run.id[:8]} --follow")
