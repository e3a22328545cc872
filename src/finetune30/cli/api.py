"""`ft30 api`: serve the REST API."""

from __future__ import annotations

from typing import Any

import click

from finetune30.cli.terminal_text import tell


@click.command("api", epilog="Example: FT30_API_PORT=8001 ft30 api")
@click.option("--host", metavar="ADDRESS", help="Address to bind to, instead of FT30_API_HOST.")
@click.option("--port", type=click.IntRange(1, 65_535), metavar="N", help="Port, instead of FT30_API_PORT.")
@click.option("--processes", type=click.IntRange(1, 64), metavar="N", help="Processes, instead of FT30_API_PROCESSES.")
@click.option(
    "--access_log/--no_access_log",
    "--access-log/--no-access-log",
    default=True,
    show_default=True,
    help="A line for every request.",
)
def command(host: str | None, port: int | None, processes: int | None, access_log: bool) -> None:
    """Serve the REST API on localhost:8000, in the foreground.

    Beyond this machine only with keys: ft30 keys create. Routes: docs/api.md, and /docs of the running API.
    """
    from finetune30.api.server import serve
    from finetune30.settings import load_settings

    given: dict[str, Any] = {"api_host": host, "api_port": port, "api_processes": processes}
    settings = load_settings()
    settings = settings.model_copy(update={key: value for key, value in given.items() if value is not None})
    serve(settings, tell, access_log=access_log)
