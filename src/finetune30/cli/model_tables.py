"""Models, versions and their history as tables for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.table import Table

from finetune30.blocks import format_value
from finetune30.cli.run_tables import build_console
from finetune30.cli.terminal_text import show_controls
from finetune30.values import say_count

if TYPE_CHECKING:
    from finetune30.store.model_records import ModelVersion
    from finetune30.store.servers import Server

Tree = Mapping[str, Any]


def print_models(models: Sequence[Tree]) -> None:
    """Print models, each with the newest of its versions that are told and not retired."""
    if not models:
        build_console().print("No models that fit. Name one with: ft30 models register RUN NAME")
        return
    table = _table("NAME", "PROBLEM", "VERSIONS", "ALIASES", "NEWEST IN USE", "BASE")
    for model in models:
        newest = next((version for version in model["versions"] if version["state"] == "READY"), None)
        table.add_row(
            model["name"],
            show_controls(model["problem_type"]),
            str(len(model["versions"])),
            ", ".join(f"{one['alias']} → {one['number']}" for one in model["aliases"]),
            f"{newest['number']}: {describe_score(newest['facts']['score'])}" if newest else "",
            show_controls(newest["facts"]["base"]["name"]) if newest else "",
        )
    build_console().print(table)


def print_versions(model: Tree) -> None:
    """Print the versions of a model, the newest first."""
    console = build_console()
    console.print(f"{model['name']}: {show_controls(model['problem_type'])}", highlight=False)
    table = _table("VERSION", "STATE", "ALIASES", "SCORE", "RUN", "REGISTERED (UTC)", "BY")
    for version in model["versions"]:
        table.add_row(
            str(version["number"]),
            version["state"],
            ", ".join(version["aliases"]),
            describe_score(version["facts"]["score"]),
            f"{version['run_id'][:8]} {show_controls(version['facts']['run_name'])}",
            version["created_at"][:19].replace("T", " "),
            show_controls(version["created_by"]),
        )
    console.print(table)


def print_events(events: Sequence[Tree]) -> None:
    """Print the history of a model, the oldest first."""
    table = _table("AT (UTC)", "WHO", "WHAT", "WHY")
    for event in events:
        table.add_row(
            event["at"][:19].replace("T", " "), show_controls(event["actor"]), _describe(event), _explain(event)
        )
    build_console().print(table)


def print_servers(servers: Sequence[Server]) -> None:
    """Print servers, a line for each name."""
    if not servers:
        build_console().print("No servers. Start one with: ft30 serve NAME@production")
        return
    table = _table("ADDRESS", "HOST", "PROCESS", "NAME", "ANSWERS WITH", "GENERATION", "HEARD OF (UTC)")
    for server in servers:
        for name in server.names:
            table.add_row(
                server.address,
                server.host,
                str(server.pid),
                name["name"],
                show_controls(server.describe_name(name["name"])),
                str(name.get("generation") or ""),
                f"{server.seen_at:%Y-%m-%d %H:%M:%S}{', silent' if server.is_silent else ''}",
            )
    build_console().print(table)


def describe_score(score: Tree) -> str:
    """Return a score with its name and, where there is one, its 95 % interval."""
    if score["value"] is None:
        return ""
    form = score["format"] or "number"
    ends = score["interval"]
    interval = f" ({format_value(ends[0], form)} to {format_value(ends[1], form)})" if ends else ""
    return f"{str(score['name']).removeprefix('eval_')} {format_value(score['value'], form)}{interval}"


def describe_certificate(version: ModelVersion) -> str:
    """Return what the certificate of a version says, in one line."""
    told = version.certificate or {}
    said = (
        f"{version.name} is {version.state}: asked {say_count(told['reference']['rows'], 'rows')} again, {told['path']}"
    )
    if gap := told.get("predictions"):
        said += f"; {gap['largest']:.2g} from what its run predicted"
        said += f", {say_count(gap['flips'], 'answers differ')}" if "flips" in gap else ""
    return said


def _describe(event: Tree) -> str:
    if event["alias"] is None:
        return f"{event['kind']} version {event['version']}"
    before = "" if event["from_version"] is None else f", before {event['from_version']}"
    kind = event["kind"].replace("_", " ")
    return f"{kind} {event['alias']} to version {event['version']}{before} (generation {event['generation']})"


def _explain(event: Tree) -> str:
    paired = (event["detail"] or {}).get("paired") or {}
    told = [event["reason"], paired.get("message") if paired.get("against") is not None else None]
    return show_controls("; ".join(text for text in told if text))


def _table(*headings: str) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for heading in headings:
        table.add_column(heading, overflow="fold")
    return table
