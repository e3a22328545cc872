"""`ft30 serve`: finished models over HTTP, under their names."""

from __future__ import annotations

from pathlib import Path

import click

from finetune30.cli.run_options import output_dir_option
from finetune30.cli.terminal_text import tell


@click.command("serve", epilog="Example: ft30 serve reviews@production shop@production")
@click.argument("names", nargs=-1, required=True, metavar="NAME[@ALIAS]...")
@click.option("--host", metavar="ADDRESS", default="127.0.0.1", show_default=True, help="Address to bind to.")
@click.option("--port", type=click.IntRange(1, 65_535), metavar="N", default=8100, show_default=True, help="Port.")
@click.option(
    "--max_batch_tokens",
    "--max-batch-tokens",
    type=click.IntRange(1),
    metavar="N",
    default=4096,
    show_default=True,
    help="Tokens of texts that are asked together.",
)
@click.option(
    "--max_batch_rows",
    "--max-batch-rows",
    type=click.IntRange(1),
    metavar="N",
    default=64,
    show_default=True,
    help="Texts that are asked together.",
)
@click.option(
    "--max_queue_rows",
    "--max-queue-rows",
    type=click.IntRange(1),
    metavar="N",
    default=1024,
    show_default=True,
    help="Texts that may wait; beyond it requests are answered 429.",
)
@click.option(
    "--deadline",
    type=click.FloatRange(0.1, 3600),
    metavar="SECONDS",
    default=30.0,
    show_default=True,
    help="How long a request may take; then it is answered 504.",
)
@click.option(
    "--max_prompt_tokens",
    "--max-prompt-tokens",
    type=click.IntRange(1),
    metavar="N",
    default=4096,
    show_default=True,
    help="Longest prompt of a language model, in tokens; beyond it requests are answered 400.",
)
@click.option(
    "--access_log/--no_access_log",
    "--access-log/--no-access-log",
    default=False,
    show_default=True,
    help="A line for every request.",
)
@output_dir_option
def command(
    names: tuple[str, ...],
    host: str,
    port: int,
    max_batch_tokens: int,
    max_batch_rows: int,
    max_queue_rows: int,
    deadline: float,
    max_prompt_tokens: int,
    access_log: bool,
    output_dir: Path | None,
) -> None:
    """Serve finished models in the foreground: POST /predict/NAME, language models at /v1/chat/completions.

    NAME alone is its newest version, NAME@alias follows the alias without a restart, NAME:7 stays. Keys are those of
    the API; beyond this machine it is served with keys only: ft30 keys create NAME --role caller.
    """
    from finetune30.api.serving.context import Serving
    from finetune30.api.serving.server import Follows, serve_models
    from finetune30.service.registry.registering import parse_version_name
    from finetune30.service.runs.open_records import open_records, require_records
    from finetune30.service.serving.batcher import Limits, count_batches
    from finetune30.service.serving.http_check import HttpCheck
    from finetune30.service.serving.loading import Loading
    from finetune30.service.serving.slots import Slots
    from finetune30.service.serving.watching import Watcher
    from finetune30.settings import load_settings

    settings = load_settings().model_copy(update={"api_host": host, "api_port": port})
    require_records(settings, output_dir)
    with open_records(settings, output_dir) as records:
        slots = Slots.named(names, parse_version_name)
        limits = Limits(
            max_batch_tokens, max_batch_rows, max_queue_rows, deadline, max_prompt_tokens, batches=count_batches()
        )
        loading, serving = Loading(records), Serving(records.store, slots, limits)

        def follow(own_host: str, own_port: int, own_key: str) -> Follows:
            http = HttpCheck(own_host, own_port, own_key, settings.max_body_bytes, max_prompt_tokens)
            return Watcher(
                records.store,
                slots,
                loading.load,
                lambda slot, loaded: loading.check(http, slot, loaded),
                serving.telemetry.count_swap,
            )

        serve_models(settings, serving, follow, tell, access_log=access_log)
