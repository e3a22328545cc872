"""What every data command shares: SOURCE and how to read it, notes on standard error, JSON on standard output."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from finetune30.hub.fetching import OnTransfer
    from finetune30.service.datasets.operations import DatasetRequest

Decorated = TypeVar("Decorated", bound=Callable[..., Any])

SOURCE_HELP = (
    "SOURCE is a CSV, TSV, JSON, JSONL, Parquet, XLSX or ODS file, a folder of train and validation files, a hub set, "
    "'starter', 'starter-zh' or 'version:<digest or tag>'. Without it: the rows that a training with the "
    "configuration would use."
)
#: Options that say what the columns of a source mean: name, key of the data section, help.
_SOURCE_OPTIONS = (
    ("text_column", "Column of the text."),
    ("text_pair_column", "Column of the second text of a pair."),
    ("label_column", "Column of the label."),
    ("label_separator", "Separator of several labels in one cell."),
    ("eval_file", "File with the evaluation rows."),
    ("eval_split", "Split with the evaluation rows."),
    ("train_split", "Split with the training rows."),
    ("dataset_config", "Configuration (subset) of a hub set."),
    ("revision", "Revision of a hub set."),
    ("encoding", "Encoding of text files that are not UTF-8, such as big5."),
    ("sheet", "Sheet of a workbook, or file inside of a .zip."),
    ("problem_type", "What is learned (model.problem_type); left out: told from the labels."),
)
#: Options that may be given several times.
_LIST_OPTIONS = (("label_columns", "Column of 0 and 1 that is a class; once for each class."),)
as_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def source_options(decorated: Decorated) -> Decorated:
    """Add SOURCE and the options that say how to read it; they arrive as `source`, `config_file` and `reading`."""
    for name, words in reversed((*_SOURCE_OPTIONS, *_LIST_OPTIONS)):
        spellings = dict.fromkeys([f"--{name}", f"--{name.replace('_', '-')}"])
        several = (name, words) in _LIST_OPTIONS
        add = click.option(
            name, *spellings, metavar="NAME", help=words, multiple=several, expose_value=False, callback=_keep
        )
        decorated = add(decorated)
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

    reading: dict[str, Any] = dict(context.meta.get("finetune30.reading", {}))
    problem_type: str | None = reading.pop("problem_type", None)
    if source is not None and config_file is not None:
        raise UsageError("SOURCE and --config cannot both say what to look at", "give one of them")
    if source is not None:
        request = request_of_source(source, **reading)
        return request if problem_type is None else replace(request, problem_type=problem_type)
    overrides = {f"data.{name}": value for name, value in reading.items()}
    if problem_type is not None:
        overrides["model.problem_type"] = problem_type
    return request_of_config(load_config(config_file or default_config_path(Path.cwd()), overrides).config)


def print_json(tree: Any) -> None:
    """Print a JSON tree."""
    click.echo(json.dumps(tree, ensure_ascii=False, indent=2))


def _keep(context: click.Context, parameter: click.Parameter, value: str | tuple[str, ...] | None) -> None:
    if value is not None and value != ():
        kept = list(value) if isinstance(value, tuple) else value
        context.meta.setdefault("finetune30.reading", {})[parameter.name] = kept


@contextmanager
def fetching_bar() -> Iterator[OnTransfer]:
    """Show a bar on standard error while something is fetched from the hub."""
    from finetune30.service.execution.run_log import Console

    console = Console()
    try:
        yield console.transfer
    finally:
        console.close()
