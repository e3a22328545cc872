"""What every data command shares: SOURCE and how to read it, notes on standard error, JSON on standard output."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from finetune30.cli.config_options import given_keys, reading_options
from finetune30.cli.named_option import named_option

if TYPE_CHECKING:
    from finetune30.hub.fetching import OnTransfer
    from finetune30.service.datasets.operations import DatasetRequest

Decorated = TypeVar("Decorated", bound=Callable[..., Any])

SOURCE_HELP = (
    "SOURCE is a CSV, TSV, JSON, JSONL, Parquet, XLSX or ODS file, a folder of train and validation files, a hub set, "
    "'starter', 'starter-zh' or 'version:<digest or tag>'. Without it: the rows that a training with the "
    "configuration would use."
)
_DATASET = "finetune30.dataset"
as_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def source_options(decorated: Decorated) -> Decorated:
    """Add SOURCE and the options that say how to read it; they arrive as `source`, `config_file` and `given_keys`."""
    decorated = reading_options()(decorated)
    decorated = named_option(
        "dataset",
        also=["dataset_name"],
        metavar="SOURCE",
        expose_value=False,
        callback=_keep_dataset,
        help="SOURCE by the name that it has in a training.",
    )(decorated)
    decorated = click.option(
        "--config",
        "config_file",
        metavar="FILE",
        type=click.Path(path_type=Path),
        help="Configuration whose data to use.",
    )(decorated)
    return click.argument("source", required=False)(decorated)


def read_request(context: click.Context, source: str | None, config_file: Path | None) -> DatasetRequest:
    """Return what the command line asks to look at. Raises ConfigError and UsageError."""
    from finetune30.config.loading import load_config
    from finetune30.config.presets import default_config_path
    from finetune30.errors import UsageError
    from finetune30.service.datasets.operations import request_of_config, request_of_source

    given = given_keys(context)
    if (named := context.meta.get(_DATASET)) is not None:
        if source is not None:
            raise UsageError("SOURCE and --dataset cannot both say what to look at", "give one of them")
        source = named
    if source is None:
        return request_of_config(load_config(config_file or default_config_path(Path.cwd()), given))
    if config_file is not None:
        raise UsageError("SOURCE and --config cannot both say what to look at", "give one of them")
    problem_type: str | None = given.pop("model.problem_type", None)
    request = request_of_source(source, **{key.removeprefix("data."): value for key, value in given.items()})
    return request if problem_type is None else replace(request, problem_type=problem_type)


def _keep_dataset(context: click.Context, option: click.Parameter, value: str | None) -> None:
    context.meta[_DATASET] = value


def print_json(tree: Any) -> None:
    """Print a JSON tree."""
    click.echo(json.dumps(tree, ensure_ascii=False, indent=2))


@contextmanager
def fetching_bar() -> Iterator[OnTransfer]:
    """Show a bar on standard error while something is fetched from the hub."""
    from finetune30.service.execution.run_log import Console

    console = Console()
    try:
        yield console.transfer
    finally:
        console.close()
