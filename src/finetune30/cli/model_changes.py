"""`ft30 models register`, `promote`, `rollback` and `retire`: the changes of the registry, each in the audit trail."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from finetune30.cli.local_actor import local_actor, record_local
from finetune30.cli.model_tables import describe_certificate
from finetune30.cli.run_options import RUN_HELP, opened, output_dir_option
from finetune30.cli.terminal_text import show_controls, tell

if TYPE_CHECKING:
    from finetune30.store import RunStore
    from finetune30.store.model_records import Alias

_reason = click.option("--reason", metavar="TEXT", required=True, help="Why; it stays in the history.")
_expect = click.option(
    "--expect",
    type=click.IntRange(0),
    metavar="GENERATION",
    help="Only if the alias still has this generation, 0 for one that was never moved.",
)
_wait = click.option(
    "--wait",
    type=click.FloatRange(0.1, 86_400),
    metavar="SECONDS",
    is_flag=False,
    flag_value=300.0,
    help="Then wait until every server of the alias answers with the version, so long at most; 300 where not said.",
)
_number = click.argument("number", type=click.IntRange(1), metavar="VERSION")


@click.command("register", epilog=f"Example: ft30 models register latest reviews. {RUN_HELP}")
@click.argument("run")
@click.argument("name")
@output_dir_option
def register(run: str, name: str, output_dir: Path | None) -> None:
    """Make a version of model NAME of a finished run; the first one makes the model.

    It is asked about evaluation rows before it is READY, by the path that ft30 serve takes, and REFUSED where it does
    not answer as its run did. The run cannot be deleted any more. Registering it again gives the version that is there.
    """
    from finetune30.service.datasets.operations import versions_of
    from finetune30.service.registry.certifying import certify_version
    from finetune30.service.registry.registering import register_run
    from finetune30.settings import load_settings
    from finetune30.store.model_records import VersionState

    with opened(output_dir) as records:
        versions = versions_of(load_settings(), records.store)
        made, is_new = register_run(records, run, name, versions, actor=local_actor())
        record_local(records.store, "models register", made.name)
        click.echo(f"{made.name}" if is_new else f"{made.name} is this run already")
        if made.state is VersionState.CHECKING:
            made = certify_version(records, made, versions, actor=local_actor())
            click.echo(describe_certificate(made))
    for fault in made.facts["travel_faults"]:
        tell(f"note: {show_controls(fault)}; train again for files that can be used elsewhere")


@click.command("promote", epilog='Example: ft30 models promote reviews 2 --to production --reason "better on pairs"')
@click.argument("name")
@_number
@click.option("--to", "alias", metavar="ALIAS", required=True, help="Such as production, staging or candidate.")
@_reason
@_expect
@_wait
@output_dir_option
def promote(
    name: str, number: int, alias: str, reason: str, expect: int | None, wait: float | None, output_dir: Path | None
) -> None:
    """Let an alias of model NAME lead to VERSION, and say how it compares with the one that was there."""
    from finetune30.service.registry import promotion

    with opened(output_dir) as records:
        found = promotion.promote(records, name, number, alias, reason=reason, actor=local_actor(), seen=expect)
        record_local(records.store, "models promote", f"{name}:{number} to {alias}")
        assert found.alias is not None  # noqa: S101 - it was moved in the lines above
        _say(found.alias, found.from_version)
        click.echo(show_controls(found.paired["message"]))
        _wait_for_servers(records.store, found.alias, wait)


@click.command("rollback", epilog='Example: ft30 models rollback reviews production --reason "wrong answers"')
@click.argument("name")
@click.argument("alias")
@_reason
@_expect
@_wait
@output_dir_option
def rollback(
    name: str, alias: str, reason: str, expect: int | None, wait: float | None, output_dir: Path | None
) -> None:
    """Let an alias lead to the version that was there before the present one was promoted."""
    from finetune30.service.registry.promotion import roll_back

    with opened(output_dir) as records:
        move = roll_back(records, name, alias, reason=reason, actor=local_actor(), seen=expect)
        record_local(records.store, "models rollback", f"{name}:{move.alias.number} to {alias}")
        _say(move.alias, move.from_version)
        _wait_for_servers(records.store, move.alias, wait)


@click.command("retire", epilog='Example: ft30 models retire reviews 1 --reason "superseded"')
@click.argument("name")
@_number
@_reason
@output_dir_option
def retire(name: str, number: int, reason: str, output_dir: Path | None) -> None:
    """Take VERSION of model NAME out of use: no alias can lead to it any more. It stays on record."""
    from finetune30.store.model_registry import retire_version

    with opened(output_dir) as records:
        retired = retire_version(records.store, name, number, actor=local_actor(), reason=reason)
        record_local(records.store, "models retire", retired.name)
    click.echo(f"{retired.name} is {retired.state}")


def _wait_for_servers(store: RunStore, alias: Alias, seconds: float | None) -> None:
    from finetune30.service.serving.awaiting import wait_for_servers

    if seconds is None:
        return
    found, name = wait_for_servers(store, alias, seconds), f"{alias.model}@{alias.alias}"
    places = ", ".join(one.address for one in found.servers)
    answering = f"servers that answer with {alias.model}:{alias.number}, or by a later move: {places}"
    click.echo(show_controls(f"{name}: {answering if places else 'no server answers under it'}"))
    for one in found.silent:
        tell(f"note: {one.address} ({one.host}) was last heard of {one.seen_at:%Y-%m-%d %H:%M:%S} UTC: not waited for")


def _say(alias: Alias, before: int | None) -> None:
    was = "" if before is None else f", before {alias.model}:{before}"
    click.echo(
        f"{alias.model}@{alias.alias} leads to {alias.model}:{alias.number}{was} (generation {alias.generation})"
    )
