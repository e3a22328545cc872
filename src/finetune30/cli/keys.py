"""`ft30 keys` and `ft30 audit`: who may call the API, and what was changed through it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from finetune30.cli.local_actor import record_local
from finetune30.cli.terminal_text import show_controls, tell
from finetune30.errors import UsageError

if TYPE_CHECKING:
    from finetune30.store import RunStore

ROLES = ("caller", "viewer", "submitter", "promoter", "admin")

_as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group("keys")
def command() -> None:
    """Make, list and revoke keys of the API.

    As soon as there is a key, nobody gets in without one, on this machine either. caller: ask models, nothing else;
    viewer: look; submitter: also ask, submit, cancel and delete own runs, register models and move their aliases;
    promoter: also staging and production; admin: everything.
    """


@command.command("create", epilog="Example: ft30 keys create anna --role submitter")
@click.argument("name")
@click.option("--role", type=click.Choice(ROLES), default="submitter", show_default=True)
@_as_json
def create(name: str, role: str, as_json: bool) -> None:
    """Make a key and print it: it is shown this once and kept as a hash only."""
    from finetune30.store.access import Role, create_key

    if not name.isprintable() or not 0 < len(name.strip()) <= 100:
        raise UsageError(f"{name[:100]!r} is no name for a key", "use 1 to 100 printable characters")
    with _open_store() as store:
        made, secret = create_key(store, name.strip(), Role(role))
        record_local(store, "keys create", f"{made.name} ({made.role})")
    if as_json:
        click.echo(json.dumps({**made.as_dict(), "key": secret}))
        return
    click.echo(secret)
    tell(f"key of {made.name}, role {made.role}; it cannot be shown again")


@command.command("list")
@_as_json
def list_keys(as_json: bool) -> None:
    """List keys: names, roles, when made and revoked. Never the keys themselves."""
    from finetune30.store.access import load_keys

    with _open_store() as store:
        keys = [key.as_dict() for key in load_keys(store)]
    if as_json:
        click.echo(json.dumps({"keys": keys}))
        return
    for key in keys:
        state = f"revoked {key['revoked_at'][:19]}" if key["revoked_at"] else "in force"
        click.echo(f"{key['id']}  {key['role']:9}  {key['created_at'][:19]}  {state:28}  {show_controls(key['name'])}")
    if not keys:
        tell("no keys: the API answers this machine only")


@command.command("revoke")
@click.argument("key")
def revoke(key: str) -> None:
    """Revoke KEY, named by its id or name; the API refuses it within 2 seconds."""
    from finetune30.store.access import revoke_key

    with _open_store() as store:
        revoked = revoke_key(store, key)
        record_local(store, "keys revoke", f"{revoked.name} ({revoked.role})")
    click.echo(f"revoked {revoked.id} ({show_controls(revoked.name)})")


@click.command("audit", epilog="Example: ft30 audit --actor anna --limit 20")
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True)
@click.option("--actor", metavar="NAME", help="Only changes made with this key.")
@_as_json
def audit(limit: int, actor: str | None, as_json: bool) -> None:
    """List who changed what and when through the API, and changes of keys; the newest first."""
    from finetune30.store.access import load_audit

    with _open_store() as store:
        entries = [entry.as_dict() for entry in load_audit(store, limit=limit, actor=actor)]
    if as_json:
        click.echo(json.dumps({"entries": entries}))
        return
    for entry in entries:
        words = f"{entry['actor']} ({entry['role']}) {entry['action']} {entry['target']} {entry['outcome'] or ''}"
        click.echo(f"{entry['at'][:19]}  {show_controls(words).rstrip()}  {entry['client']}".rstrip())


@contextmanager
def _open_store() -> Iterator[RunStore]:
    from finetune30.settings import load_settings
    from finetune30.store import open_store

    store = open_store(load_settings().resolved_database_url)
    try:
        yield store
    finally:
        store.close()
