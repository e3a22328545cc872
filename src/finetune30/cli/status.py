"""`ft30 status`: what is up, what waits and what runs."""

from __future__ import annotations

from typing import Any

import click

import finetune30

#: Why runs wait (see `explain_wait`).
_REASONS = {
    "no_worker": "for a worker",
    "other_version": "for a worker of another version",
    "running_limit": "for other runs of their submitters to end",
    "too_few_places": "for a worker with more places",
    "gathering": "until places enough are free together",
    "places_kept": "behind one of those",
    "places_busy": "for a place",
    "starting": "about to begin",
}


@click.command("status")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def command(context: click.Context, as_json: bool) -> None:
    """Say what is up, how many runs wait, and which worker carries out what. Exit code 1 when something is missing."""
    import json

    from finetune30.jobs.addresses import describe_address
    from finetune30.jobs.redis_server import is_port_taken, is_redis_up
    from finetune30.service.runs.service_status import load_overview
    from finetune30.service.submitting.waiting import count_waits
    from finetune30.settings import load_settings
    from finetune30.store import open_store

    settings = load_settings()
    store = open_store(settings.resolved_database_url)
    try:
        overview = load_overview(store) | {"waiting": count_waits(store, settings.max_running_runs)}
    finally:
        store.close()
    services = {
        "redis": (is_redis_up(settings.redis_url), describe_address(settings.redis_url)),
        "api": (is_port_taken(settings.api_host, settings.api_port), f"{settings.api_host}:{settings.api_port}"),
        "ui": (is_port_taken(settings.ui_host, settings.ui_port), f"{settings.ui_host}:{settings.ui_port}"),
    }
    if as_json:
        shown = {name: {"up": up, "address": address} for name, (up, address) in services.items()}
        click.echo(json.dumps({"services": shown, **overview}, indent=2, ensure_ascii=False))
    else:
        for name, (up, address) in services.items():
            click.echo(f"{name:<7} {'up' if up else 'down':<5} {address}")
        _print_overview(overview)
    if not (services["redis"][0] and overview["workers"]):
        context.exit(1)


def _print_overview(overview: dict[str, Any]) -> None:
    reasons = ", ".join(f"{count} {_REASONS[code]}" for code, count in overview["waiting"].items() if count)
    click.echo(f"queue   {overview['queued']} waiting{f': {reasons}' if reasons else ''}")
    counts = (f"{count} {state}" for state, count in overview["runs"].items() if count and state != "QUEUED")
    click.echo(f"runs    {', '.join(counts) or 'none yet'}")
    if not overview["workers"]:
        click.echo("worker  none (start one with: make start-worker)")
    for worker in overview["workers"]:
        held = ", ".join(map(_describe_run, worker["runs"])) or "idle"
        state = " draining" if worker["draining"] else ""
        version = "" if worker["version"] in (None, finetune30.__version__) else f" (finetune30 {worker['version']})"
        places = f"{', '.join(worker['slots'])}; {worker['busy']} of {len(worker['slots'])} busy"
        click.echo(f"worker  {worker['node']} [{places}]{version}{state}: {held}")
    for run in overview["other_running"]:
        click.echo(f"other   {_describe_run(run)} ({run['kind']})")


def _describe_run(run: dict[str, Any]) -> str:
    percent = "" if run["percent"] is None else f" {run['percent']:.0f} %"
    places = f" on {run['places']} places" if run["places"] > 1 else ""
    return f"{run['id'][:8]} {run['name']}{percent}{places}"
