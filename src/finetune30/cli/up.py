"""`ft30 up`: everything in one terminal."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

import click

from finetune30.cli.addresses import own_address, shown_address
from finetune30.cli.terminal_text import tell
from finetune30.cli.welcome import Welcome

if TYPE_CHECKING:
    from finetune30.jobs.service_group import Service
    from finetune30.settings import Settings


#: The page asks the API every two seconds: a line for each would bury everything else.
_QUIETLY = {"api": ("--no-access-log",)}
#: What Redis warns of concerns machines that serve nothing but Redis, whose runs would be lost with it; ours are not.
_OF_NO_CONCERN = ("Memory overcommit must be enabled",)


@click.command("up")
@click.option("--workers", type=click.IntRange(1, 16), default=1, show_default=True, help="Worker processes.")
@click.option(
    "--open/--no-open",
    " /--no_open",
    "open_page",
    default=True,
    show_default=True,
    help="Open the page in a browser.",
)
def command(workers: int, open_page: bool) -> None:
    """Run Redis, worker, API and page under one supervisor in this terminal; mirrors where FT30_MIRRORS names some.

    Once the page answers, it is opened in a browser and its address is told.
    What dies is started again, with growing pauses. Where no Redis is to be had, workers take runs from the database.
    Ctrl-C stops everything; running attempts write a checkpoint and their runs go on when the services are back.
    """
    from finetune30.jobs.service_group import ServiceGroup
    from finetune30.settings import load_settings
    from finetune30.store import open_store

    settings = load_settings()
    open_store(settings.resolved_database_url).close()
    services, addresses = _plan(settings, workers)
    *others, last = addresses
    page = last.split()[-1] if "http" in last else None
    lines = [*others, f"Results {settings.results_folder}", "Ctrl-C stops everything", last]
    welcome = Welcome(lines, [f"{own_address(settings.api_host, settings.api_port)}/healthz"], page, tell)
    ServiceGroup(services, tell).run(lambda: welcome.begin(open_page=open_page))
    welcome.end()
    tell("all stopped")


def _plan(settings: Settings, workers: int) -> tuple[list[Service], list[str]]:
    """Return the services to run here, in the order of starting, and the addresses to tell.

    Without any Redis the rest goes on: workers take runs from the database. Raises ServiceUnavailableError when a port
    is taken or the Redis of another machine does not answer.
    """
    from finetune30.cli.registry import COMMANDS
    from finetune30.errors import NoRedisError, ServiceUnavailableError
    from finetune30.jobs.addresses import describe_address
    from finetune30.jobs.redis_server import build_redis_command, is_port_taken, is_redis_up
    from finetune30.jobs.service_group import Service, ft30_command

    services: list[Service] = []
    addresses = [f"Redis   {describe_address(settings.redis_url)}"]
    if not is_redis_up(settings.redis_url):
        try:
            arguments = build_redis_command(settings.redis_url).arguments
            services.append(Service("redis", arguments, untold=_OF_NO_CONCERN))
        except NoRedisError:
            addresses = [f"Redis   none: workers take runs from the database, within {settings.reconcile_seconds:g} s"]
    for number in range(1, workers + 1):
        name = "worker" if number == 1 else f"worker{number}"
        arguments = [] if number == 1 else ["--name", f"{settings.worker_name or 'worker'}-{number}"]
        services.append(Service(name, ft30_command("worker", *arguments), settings.stop_grace_seconds + 10))
    for name, host, port in (("api", settings.api_host, settings.api_port), ("ui", settings.ui_host, settings.ui_port)):
        if name not in COMMANDS:
            continue
        if name == "ui" and importlib.util.find_spec("streamlit") is None:
            addresses.append("Page    none: Streamlit is not installed (make install)")
            continue
        if is_port_taken("127.0.0.1" if host == "0.0.0.0" else host, port):  # noqa: S104 - compared, not bound
            raise ServiceUnavailableError(
                f"port {port} for the {name} is taken", f"stop what uses it, or set FT30_{name.upper()}_PORT"
            )
        services.append(Service(name, ft30_command(name, *_QUIETLY.get(name, ()))))
        addresses.append(f"{'API' if name == 'api' else 'Page':<7} {shown_address(host, port)}")
    if settings.mirrors:
        services.append(Service("mirrors", ft30_command("mirrors"), settings.mirror_timeout_seconds + 5))
        addresses.insert(len(addresses) - 1, f"Mirrors {', '.join(settings.mirrors)}")
    return services, addresses
