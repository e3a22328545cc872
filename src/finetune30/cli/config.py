"""`ft30 config`: show, check and explain configurations."""

from __future__ import annotations

import json
import re
from pathlib import Path

import click

from finetune30.cli.config_options import config_options, load_from_flags
from finetune30.cli.named_option import named_option


@click.group("config")
def command() -> None:
    """Show, check and explain configurations."""


@command.command("show")
@config_options
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def show(context: click.Context, config_file: Path | None, preset: str | None, as_json: bool) -> None:
    """Print the resolved configuration: defaults, file and flags together."""
    from finetune30.config.loading import dump_config

    config = load_from_flags(context, config_file, preset).config
    text = json.dumps(config.as_tree(), indent=2, ensure_ascii=False) + "\n" if as_json else dump_config(config)
    click.echo(text, nl=False)


@command.command("check")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@named_option("as_request", is_flag=True, help="Check as the API would: also which files a request may name.")
def check(files: tuple[Path, ...], as_request: bool) -> None:
    """Check configuration files and report every fault with its line."""
    from finetune30.config.loading import config_error, load_config
    from finetune30.config.search_loading import check_beside
    from finetune30.errors import ConfigError
    from finetune30.service.submitting.named_files import find_file_faults
    from finetune30.settings import load_settings

    settings = load_settings() if as_request else None
    faults: list[ConfigError] = []
    for file in files:
        try:
            config = load_config(file, take_beside=check_beside).config
            if settings is not None and (found := find_file_faults(config, settings, str(file))):
                raise config_error(found)
        except ConfigError as error:
            faults.append(error)
        else:
            click.echo(f"{file}: ok")
    if faults:
        raise ConfigError("\n".join(error.message for error in faults), faults[0].remedy)


@command.command("schema")
@click.option("--markdown", is_flag=True, help="Print a table instead of JSON Schema.")
@click.option("--search", "of_search", is_flag=True, help="Of the section search: beside a configuration.")
def schema(markdown: bool, of_search: bool) -> None:
    """Print every key with its type, bounds, default and meaning."""
    from finetune30.config.reference import (
        build_json_schema,
        build_markdown,
        build_search_markdown,
        build_search_schema,
    )

    if markdown:
        click.echo(build_search_markdown() if of_search else build_markdown())
        return
    tree = build_search_schema() if of_search else build_json_schema()
    click.echo(json.dumps(tree, indent=2, ensure_ascii=False))


@command.command("settings")
@click.option("--markdown", is_flag=True, help="Print the defaults and meanings as a table.")
def settings(markdown: bool) -> None:
    """Show the settings of this process: folders, addresses, intervals (environment and .env)."""
    from finetune30.config.reference import build_table
    from finetune30.settings import Settings, load_settings, variable_name

    if markdown:
        rows = [
            (f"`{variable_name(name)}`", f"`{_shown(field.default)}`", field.description or "")
            for name, field in Settings.model_fields.items()
        ]
        click.echo(build_table(("Variable", "Default", "Meaning"), rows))
        return
    loaded = load_settings()
    for name in Settings.model_fields:
        click.echo(f"{variable_name(name)}={_shown(getattr(loaded, name))}")


@command.command("presets")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--markdown", is_flag=True, help="Print a table.")
def presets(as_json: bool, markdown: bool) -> None:
    """List the shipped configurations."""
    from finetune30.config.presets import list_presets
    from finetune30.config.reference import build_table

    found = list_presets()
    if as_json:
        rows = [{"name": p.name, "path": str(p.path), "command": p.command, "summary": p.summary} for p in found]
        click.echo(json.dumps(rows, indent=2, ensure_ascii=False))
    elif markdown:
        click.echo(build_table(("Preset", "What it does"), [(f"`{p.name}`", p.summary) for p in found]))
    else:
        width = max(len(preset.name) for preset in found)
        for preset in found:
            click.echo(f"{preset.name:<{width}}  {preset.summary}")


def _shown(value: object) -> str:
    """Show a setting; secrets hide themselves, passwords in addresses are hidden here."""
    if value is None or value == ():
        return ""
    if isinstance(value, tuple):
        return ",".join(str(part) for part in value)
    return re.sub(r"://([^:/@]*):[^@/]*@", r"://\1:***@", str(value))
