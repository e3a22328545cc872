"""`ft30 export`: a finished run's model as a file for other machines."""

from __future__ import annotations

from pathlib import Path

import click

from finetune30.cli.run_options import output_dir_option


@click.command("export", epilog="Example: ft30 export latest --as zip --output model.zip")
@click.argument("run")
@click.option("--as", "form", type=click.Choice(["zip"]), default="zip", show_default=True, help="What to make of it.")
@click.option("--output", type=click.Path(path_type=Path), help="The file to write; left out: FOLDER-OF-THE-RUN.zip.")
@click.option("--overwrite", is_flag=True, help="Replace that file.")
@output_dir_option
def command(run: str, form: str, output: Path | None, overwrite: bool, output_dir: Path | None) -> None:
    """Write the model of RUN (id, folder, name, latest, NAME@alias or NAME:7) for machines without finetune30.

    The .zip holds the adapter, the base model (unless it is one of the hub), use_model.py, which loads and asks both,
    and the sha256 of every file. Nothing in it names a place on this machine.
    """
    from finetune30.service.models.model_package import export_package
    from finetune30.settings import load_settings

    written = export_package(load_settings(), output_dir, run, output, overwrite=overwrite)
    click.echo(f'{written}\nask it there: unzip {written.name} && python {written.stem}/use_model.py "some text"')
