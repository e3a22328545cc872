"""What commands share: how a run is named, where runs lie, JSON instead of a table, KEY=VALUE."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from finetune30.settings import Settings

RUN_HELP = "RUN is an id, its beginning, a folder's name, an experiment's name (the newest of it) or 'latest'."

output_dir_option = click.option(
    "--output_dir",
    "--output-dir",
    metavar="FOLDER",
    type=click.Path(path_type=Path),
    help="Folder of the runs, where it is not the one of the settings.",
)
as_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def load_settings_for(output_dir: Path | None) -> Settings:
    """Return the settings, with another results folder where one is named."""
    from finetune30.settings import load_settings

    settings = load_settings()
    return settings if output_dir is None else settings.model_copy(update={"results_folder": output_dir})


def split_assignment(text: str) -> tuple[str, str]:
    """Return key and value of KEY=VALUE. Raises click.BadParameter."""
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise click.BadParameter(f"{text!r} is not KEY=VALUE, for example training.weight_decay=0.01")
    return key.strip(), value.strip()
