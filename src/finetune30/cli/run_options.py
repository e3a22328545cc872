"""What the commands about recorded runs have in common: how a run is named, where the runs are."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from finetune30.cli.named_option import named_option

if TYPE_CHECKING:
    from finetune30.service.runs.open_records import Records
    from finetune30.settings import Settings

RUN_HELP = (
    "RUN is an id, its beginning, a folder's name, an experiment's name (the newest of it), 'latest', or a version "
    "of a model: NAME, NAME@alias or NAME:7."
)

output_dir_option = named_option(
    "output_dir",
    metavar="FOLDER",
    type=click.Path(path_type=Path),
    help="Folder of the runs, where it is not the one of the settings.",
)


def settings_for(output_dir: Path | None) -> Settings:
    """Return the settings, with `output_dir` as the folder of the runs where one was given."""
    from finetune30.settings import load_settings

    settings = load_settings()
    return settings if output_dir is None else settings.model_copy(update={"results_folder": output_dir})


@contextmanager
def opened(output_dir: Path | None) -> Iterator[Records]:
    """Open the records of a folder, or of the settings. Raises NotFoundError when nothing was ever run there."""
    from finetune30.service.runs.open_records import open_records, require_records
    from finetune30.settings import load_settings

    settings = load_settings()
    require_records(settings, output_dir)
    with open_records(settings, output_dir) as records:
        yield records
