"""`ft30 worker`: carry queued runs out until told to stop."""

from __future__ import annotations

import click

from finetune30.cli.terminal_text import tell


@click.command("worker", epilog="Example: ft30 worker --concurrency 2")
@click.option("--name", metavar="NAME", help="Name among the workers (FT30_WORKER_NAME; else the host's).")
@click.option(
    "--concurrency",
    type=click.IntRange(1, 64),
    metavar="N",
    help="Runs at a time on the CPU, or the most GPUs to use (FT30_WORKER_CONCURRENCY).",
)
@click.pass_context
def command(context: click.Context, name: str | None, concurrency: int | None) -> None:
    """Carry queued runs out, each in a process of its own.

    One training at a time on every GPU, or on the Apple GPU; N on the CPU. Ctrl-C or SIGTERM lets running attempts
    write a checkpoint and hands their runs back. SIGUSR2 drains: nothing new is taken, and the worker ends with its
    attempts.
    """
    import logging
    import socket

    from finetune30.jobs.slots import DeviceSlots, find_devices
    from finetune30.jobs.worker import run_worker
    from finetune30.machine.device_locks import default_lock_folder
    from finetune30.service.searches.keeper import SearchKeeper
    from finetune30.settings import load_settings
    from finetune30.store import open_store

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("alembic").setLevel(logging.WARNING)  # a new database is no news for whoever starts a worker
    settings = load_settings()
    node = name or settings.worker_name or socket.gethostname()
    slots = DeviceSlots(find_devices(concurrency or settings.worker_concurrency), default_lock_folder())
    store = open_store(settings.resolved_database_url)
    tell(f"worker {node}: {', '.join(slots.devices)}; results in {settings.results_folder}")
    keeper = SearchKeeper(store, settings)
    try:
        context.exit(run_worker(store, settings, node, slots, look_after=keeper.look))
    finally:
        keeper.close()
        store.close()
