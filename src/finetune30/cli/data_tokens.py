"""`ft30 data tokens`: a row of a conversation as a language model is trained on it, in colours."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from finetune30.cli.config_options import config_options, give_key, given_keys, load_from_flags
from finetune30.cli.data_source import as_json_option, fetching_bar, print_json
from finetune30.cli.terminal_text import note, show_controls
from finetune30.config import STARTER_CHAT
from finetune30.config.problem_types import CAUSAL_LM
from finetune30.values import say_count

if TYPE_CHECKING:
    from finetune30.service.datasets.token_view import TokenView

#: How each kind looks where there are colours; its name stands beside it everywhere.
_STYLES: dict[str, dict[str, Any]] = {
    "supervised": {"fg": "green", "bold": True},
    "context": {},
    "template": {"fg": "blue"},
    "truncated": {"fg": "red", "strikethrough": True},
}
_NAMES = {"truncated": "cut"}


@click.command("tokens")
@click.argument("source", required=False)
@click.option("--row", metavar="N", help="Line of the first file, or FILE:LINE; left out: the first row that is used.")
@config_options
@as_json_option
@click.pass_context
def tokens(
    context: click.Context,
    source: str | None,
    row: str | None,
    config_file: Path | None,
    preset: str | None,
    as_json: bool,
) -> None:
    """Show one row as a language model is trained on it: what carries loss, context, template, and what is cut."""
    from finetune30.service.datasets.token_view import names_model, view_tokens
    from finetune30.settings import load_settings

    if source is not None:
        _look_at(context, source)
    loaded = load_from_flags(context, config_file, preset)
    if not names_model(loaded):
        note(f"tokens are those of {STARTER_CHAT}; of another model: add --model NAME")
    with fetching_bar() as bar:
        view = view_tokens(loaded, row, load_settings(), note, bar)
    if as_json:
        print_json(view.as_dict())
    else:
        _print(view)


def _look_at(context: click.Context, source: str) -> None:
    """Let SOURCE be the data, all of it, read as conversations unless flags say otherwise."""
    given = given_keys(context)
    assumed = {"model.problem_type": CAUSAL_LM, "data.dataset_config": None}
    assumed |= {"data.train_samples": None, "data.eval_samples": None}
    for key, value in {**assumed, "data.dataset_name": source}.items():
        if key not in given or key == "data.dataset_name":
            give_key(context, key, value)


def _print(view: TokenView) -> None:
    counts = ", ".join(f"{count:,} {_NAMES.get(kind, kind)}" for kind, count in view.shown.counts.items())
    click.echo(f"{show_controls(view.row_id)} ({view.split}) under {show_controls(view.model)}: {counts}")
    for piece in view.shown.pieces:
        shown = show_controls(piece.text.replace("\n", "\\n"))
        text = click.style(shown, **_STYLES[piece.kind])
        click.echo(f"{_NAMES.get(piece.kind, piece.kind):>10} {len(piece.ids):>5}  {text}")
    if view.shown.dropped_characters:
        click.echo(
            f"the template leaves out {say_count(view.shown.dropped_characters, 'characters', ',')} of its messages"
        )
    if view.shown.unlike_asked:
        asked = "answers carry no loss, because the template would ask for them behind another text"
        click.echo(f"{view.shown.unlike_asked:,} {asked}")
    if (aside := view.shown.aside) is not None:
        click.echo(f"set aside as '{aside.rule}': {show_controls(aside.fix)}")
