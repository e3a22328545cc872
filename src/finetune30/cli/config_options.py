"""The flags that make an experiment configuration, shared by every command that takes one.

Precedence: defaults < file (--config or --preset) < flags. Every key of the configuration is a flag by its dotted
name; the common ones have a short name too. Values are read as YAML reads them.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from finetune30.cli.named_option import named_option
from finetune30.config.fields import FLAG_NAMES, READING_NAMES, SHORT_NAMES, describe_allowed, field_schemas
from finetune30.config.loading import LoadedConfig, load_config, load_override
from finetune30.config.presets import default_config_path, preset_path
from finetune30.errors import NotFoundError, UsageError

Decorated = TypeVar("Decorated", bound=Callable[..., Any])

#: What the help shows for the value of a short flag; a number is N.
METAVARS = {
    "experiment_name": "NAME",
    "model": "NAME",
    "dataset": "NAME",
    "learning_rate": "RATE",
    "device": "NAME",
    "output_dir": "FOLDER",
    "eval_file": "FILE",
    "label_separator": "TEXT",
}
#: Short names of lists: given once for each entry.
_SEVERAL = ("label_columns",)
_STATE = "finetune30.overrides"


def key_options(command: Decorated) -> Decorated:
    """Add a flag for every key of a configuration to a click command; `given_keys` returns what they gave."""
    for key in reversed(field_schemas()):
        if "." in key:
            command = _key_option(key)(command)
    command = click.option(
        "--set",
        "assignments",
        multiple=True,
        metavar="KEY=VALUE",
        expose_value=False,
        callback=_collect_assignments,
        help="Set any key, for example --set training.weight_decay=0.01; also --training.weight_decay 0.01.",
    )(command)
    for flag, key in reversed({**SHORT_NAMES, **FLAG_NAMES, **READING_NAMES}.items()):
        command = _short_option(flag, key)(command)
    return command


def config_options(command: Decorated) -> Decorated:
    """Add every configuration flag to a click command; `load_from_flags` turns them into a LoadedConfig."""
    command = key_options(command)
    command = click.option("--preset", metavar="NAME", help="A shipped configuration: ft30 config presets.")(command)
    return click.option(
        "--config",
        "config_file",
        metavar="FILE",
        type=click.Path(path_type=Path),
        help="Configuration file; without it config/default.yaml, or the shipped default.",
    )(command)


def reading_options(*names: str) -> Callable[[Decorated], Decorated]:
    """Add flags that say how data are read, by their short and their dotted names; `given_keys` returns them."""

    def add(command: Decorated) -> Decorated:
        for name in reversed(names or (*READING_NAMES,)):
            command = _short_option(name, READING_NAMES[name])(_key_option(READING_NAMES[name])(command))
        return command

    return add


def given_keys(context: click.Context) -> dict[str, Any]:
    """Return the keys that flags of a command gave, dotted, with their values."""
    return dict(context.meta.get(_STATE, {}))


def load_from_flags(context: click.Context, config_file: Path | None, preset: str | None) -> LoadedConfig:
    """Load the file that the flags name and lay the flags over it.

    Raises UsageError, also for an unknown preset, and ConfigError with every fault.
    """
    if config_file is not None and preset is not None:
        raise UsageError(
            f"--config {config_file} and --preset {preset} cannot both be the base",
            "give one of them, and flags on top",
        )
    try:
        path = preset_path(preset) if preset is not None else config_file or default_config_path(Path.cwd())
    except NotFoundError as error:
        raise UsageError(error.message, error.remedy) from error
    return load_config(path, context.meta.get(_STATE, {}))


def _short_option(flag: str, key: str) -> Callable[[Decorated], Decorated]:
    schema = field_schemas()[key]
    several = flag in _SEVERAL
    return named_option(
        flag,
        metavar=METAVARS.get(flag, "NAME" if flag in READING_NAMES else "N"),
        expose_value=False,
        multiple=several,
        callback=_collect_several(key) if several else _collect(key),
        help=f"{schema['description'].rstrip('.')} ({key}).",
    )


def _key_option(key: str) -> Callable[[Decorated], Decorated]:
    return named_option(
        key,
        to=f"key_{key.replace('.', '__')}",
        metavar="VALUE",
        expose_value=False,
        hidden=True,
        callback=_collect(key),
        help=describe_allowed(field_schemas()[key]),
    )


def _collect(key: str) -> Callable[[click.Context, click.Parameter, str | None], None]:
    def callback(context: click.Context, parameter: click.Parameter, text: str | None) -> None:
        if text is not None:
            _remember(context, key, text)

    return callback


def _collect_several(key: str) -> Callable[[click.Context, click.Parameter, tuple[str, ...]], None]:
    def callback(context: click.Context, parameter: click.Parameter, texts: tuple[str, ...]) -> None:
        if texts:
            give_key(context, key, list(texts))

    return callback


def _collect_assignments(context: click.Context, parameter: click.Parameter, texts: tuple[str, ...]) -> None:
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key.strip():
            raise click.BadParameter(f"{text!r} is not KEY=VALUE, for example training.weight_decay=0.01")
        _remember(context, key.strip(), value.strip())


def _remember(context: click.Context, key: str, text: str) -> None:
    give_key(context, key, load_override(key, text))


def give_key(context: click.Context, key: str, value: Any) -> None:
    """Take a key's value as if a flag had given it. Raises UsageError where a flag gave another."""
    overrides: dict[str, Any] = context.meta.setdefault(_STATE, {})
    if key in overrides and overrides[key] != value:
        raise UsageError(f"{key} is given twice, as {overrides[key]!r} and as {value!r}", "give it once")
    overrides[key] = value
