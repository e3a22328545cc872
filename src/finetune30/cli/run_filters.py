"""The options of `ft30 runs list`, made from the words that a listing of runs understands."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from finetune30.errors import UsageError

if TYPE_CHECKING:
    from finetune30.service.runs.listing import RunQuery

#: What the help shows for a value that its type does not tell.
_METAVARS = {"max_runtime": "SECONDS", "start_date": "DATE", "end_date": "DATE"}


class RunListCommand(click.Command):
    """A command with an option for every word of a listing, before its own; `load_run_query` reads them.

    The words are looked up when the command is used: they stand beside the store, which starts slowly.
    """

    _filters: list[click.Parameter] | None = None

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Return the options."""
        if self._filters is None:
            from finetune30.service.runs.listing import RunQuery

            words: dict[str, dict[str, Any]] = RunQuery.model_json_schema()["properties"]
            self._filters = [_build_option(name, schema) for name, schema in words.items()]
        return [*self._filters, *super().get_params(ctx)]


def load_run_query(given: dict[str, Any]) -> RunQuery:
    """Return the question that the options ask; names are listed ascending unless told otherwise. Raises UsageError."""
    from pydantic import ValidationError

    from finetune30.service.runs.listing import RunQuery

    wanted = {"desc": given["sort_by"] != "name", **{name: value for name, value in given.items() if value is not None}}
    try:
        return RunQuery(**wanted)
    except ValidationError as error:
        fault = error.errors()[0]
        raise UsageError(
            f"--{fault['loc'][0]}: {fault['msg']}", "see what is allowed with: ft30 runs list --help"
        ) from error


def _build_option(name: str, schema: dict[str, Any]) -> click.Option:
    if name == "desc":
        return click.Option(["--desc/--asc", name], default=None, help="Order; by default descending, names ascending.")
    if name == "starred":
        text = schema.get("description")
        return click.Option(["--starred/--unstarred", name], default=None, help=text)
    schema = {**schema, **next((kind for kind in schema.get("anyOf", ()) if kind["type"] != "null"), {})}
    spellings = dict.fromkeys([f"--{name}", f"--{name.replace('_', '-')}"])
    is_list = schema["type"] == "array"
    default = None if is_list else schema.get("default")
    return click.Option(
        [*spellings, name],
        type=_value_type(schema["items"] if is_list else schema),
        multiple=is_list,
        default=default,
        show_default=default is not None,
        metavar=_METAVARS.get(name),
        help=schema.get("description"),
    )


def _value_type(schema: dict[str, Any]) -> click.types.ParamType[Any]:
    if "enum" in schema:
        return click.Choice(schema["enum"], case_sensitive=False)
    least, most = schema.get("minimum"), schema.get("maximum")
    if schema["type"] == "integer":
        return click.IntRange(least, most)
    if schema["type"] == "number":
        return click.FLOAT if least is None and most is None else click.FloatRange(least, most)
    return click.STRING
