"""`ft30 models`: list, show, search and verify versions of models; `model_changes` adds what changes them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from finetune30.cli import model_changes
from finetune30.cli.local_actor import local_actor
from finetune30.cli.run_options import opened, output_dir_option
from finetune30.cli.terminal_text import show_controls
from finetune30.values import say_count

_VERSION_HELP = "NAME is a model (its newest version), NAME@alias or NAME:7 a version."
_as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group("models")
def command() -> None:
    """Name finished models: versions that never change, and aliases such as production that lead to them.

    NAME, NAME@alias and NAME:7 stand wherever a RUN does: ft30 predict reviews@production "some text".
    """


@command.command("list", epilog="Example: ft30 models list")
@output_dir_option
@_as_json
def list_models(output_dir: Path | None, as_json: bool) -> None:
    """Print every model with its aliases and newest version."""
    _find(output_dir, as_json)


@command.command("search", epilog='Example: ft30 models search --base starter --script Latin "positive"')
@click.argument("words", nargs=-1, metavar="[WORD...]")
@click.option("--base", metavar="NAME", help="A part of the base model's name.")
@click.option("--script", metavar="NAME", help="A script of the evaluation rows: Latin, Han, Cyrillic …")
@click.option("--problem", metavar="NAME", help="What it learnt, such as single_label_classification.")
@click.option("--tag", metavar="TAG", help="A tag of the run.")
@output_dir_option
@_as_json
def search(words: tuple[str, ...], output_dir: Path | None, as_json: bool, **wanted: str | None) -> None:
    """Print the models with a version that has all that is asked for.

    Each WORD must stand in a name (of model, run, data, base or a label) or in the note of the run.
    """
    _find(output_dir, as_json, text=" ".join(words) or None, **wanted)


@command.command("show", epilog="Example: ft30 models show reviews")
@click.argument("name")
@output_dir_option
@_as_json
def show(name: str, output_dir: Path | None, as_json: bool) -> None:
    """Print the versions of a model, each with its score, run and aliases."""
    from finetune30.store.model_registry import find_model

    with opened(output_dir) as records:
        found = find_model(records.store, name).as_dict()
    if as_json:
        _print_json(found)
        return
    from finetune30.cli.model_tables import print_versions

    print_versions(found)


@command.command("compare", epilog="Example: ft30 models compare reviews@production reviews")
@click.argument("versions", nargs=-1, required=True, metavar="NAME NAME...")
@click.option("--json", "as_json", is_flag=True, help="Print everything that the API answers, as JSON.")
@output_dir_option
def compare(versions: tuple[str, ...], output_dir: Path | None, as_json: bool) -> None:
    """Say whether the runs of two to eight versions differ by more than chance, as ft30 compare does.

    NAME is a model (its newest version), NAME@alias or NAME:7 a version, of the same model or of several.
    """
    from finetune30.cli.compare import print_comparison
    from finetune30.service.registry.registering import load_version

    with opened(output_dir) as records:
        runs = [load_version(records, version).run_id for version in versions]
        print_comparison(records, runs, as_json=as_json)


@command.command("history", epilog="Example: ft30 models history reviews")
@click.argument("name")
@output_dir_option
@_as_json
def history(name: str, output_dir: Path | None, as_json: bool) -> None:
    """Print every change of a model: who, when, why, and how what was promoted compared with what was there."""
    from finetune30.store.model_registry import find_events

    with opened(output_dir) as records:
        found = [event.as_dict() for event in find_events(records.store, name)]
    if as_json:
        _print_json(found)
        return
    from finetune30.cli.model_tables import print_events

    print_events(found)


@command.command("servers", epilog="Example: ft30 models servers reviews")
@click.argument("name", required=False)
@output_dir_option
@_as_json
def servers(name: str | None, output_dir: Path | None, as_json: bool) -> None:
    """Print the servers that run (ft30 serve), of one model or of all, and the version that each answers with."""
    from finetune30.store.model_registry import find_model
    from finetune30.store.servers import find_servers

    with opened(output_dir) as records:
        model = None if name is None else find_model(records.store, name).name
        found = find_servers(records.store, model)
    if as_json:
        _print_json([one.as_dict() for one in found])
        return
    from finetune30.cli.model_tables import print_servers

    print_servers(found)


@command.command("card", epilog=_VERSION_HELP)
@click.argument("version", metavar="NAME")
@output_dir_option
def card(version: str, output_dir: Path | None) -> None:
    """Print the card of a version: where it comes from, how good it is, what limits it, who serves it; Markdown."""
    from finetune30.service.registry.registering import load_card, load_version
    from finetune30.service.serving.awaiting import describe_serving

    with opened(output_dir) as records:
        found = load_version(records, version)
        text = load_card(records, found) + describe_serving(records.store, found)
    click.echo(show_controls(text, "\n"), nl=False)


@command.command("verify", epilog=_VERSION_HELP)
@click.argument("version", metavar="NAME")
@output_dir_option
def verify(version: str, output_dir: Path | None) -> None:
    """Hash the files of a version again, and ask it again what it was asked when it was registered.

    A version whose check was not over is checked now.
    """
    from finetune30.cli.model_tables import describe_certificate
    from finetune30.service.datasets.operations import versions_of
    from finetune30.service.registry.certifying import certify_version
    from finetune30.service.registry.registering import load_version, verify_version
    from finetune30.settings import load_settings

    with opened(output_dir) as records:
        found = load_version(records, version)
        click.echo(f"{found.name}: {say_count(verify_version(records, found), 'files are')} as they were registered")
        versions = versions_of(load_settings(), records.store)
        click.echo(describe_certificate(certify_version(records, found, versions, actor=local_actor())))


def _find(output_dir: Path | None, as_json: bool, **wanted: str | None) -> None:
    from finetune30.service.registry.search import ModelQuery, search_models

    with opened(output_dir) as records:
        found = search_models(records, ModelQuery(**wanted))
    if as_json:
        _print_json(found)
        return
    from finetune30.cli.model_tables import print_models

    print_models(found)


def _print_json(tree: Any) -> None:
    click.echo(json.dumps(tree, indent=2, ensure_ascii=False))


for _changing in (model_changes.register, model_changes.promote, model_changes.rollback, model_changes.retire):
    command.add_command(_changing)
