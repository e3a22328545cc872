"""One option has one name in all commands; derived from the tree of commands."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner

from finetune30.cli.main import app
from finetune30.config.fields import FLAG_NAMES, READING_NAMES, SHORT_NAMES, field_schemas

#: Names that had others before: the name -> the commands and what it was called there.
EARLIER = {"--output": ("data clean", "--out"), "--limit": ("data versions show", "--rows")}
#: Options of a training, whose values are read as YAML and checked by the schema.
OF_A_TRAINING = {f"--{name}" for name in {**SHORT_NAMES, **FLAG_NAMES, **READING_NAMES}}


def walk(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[str, click.Command]]:
    if not isinstance(command, click.Group):
        yield " ".join(path), command
        return
    for name in command.list_commands(click.Context(command)):
        below = command.get_command(click.Context(command), name)
        assert below is not None
        yield from walk(below, (*path, name))


def options() -> list[tuple[str, click.Option]]:
    found = []
    for path, command in walk(app):
        parameters = command.get_params(click.Context(command))
        found += [(path, option) for option in parameters if isinstance(option, click.Option)]
    return found


def primary(option: click.Option) -> str:
    return next((name for name in option.opts if name.startswith("--")), option.opts[0])


def shown() -> list[tuple[str, click.Option]]:
    return [(path, option) for path, option in options() if not option.hidden and "--help" not in option.opts]


def test_every_option_of_several_words_is_spelt_both_ways() -> None:
    for path, option in options():
        names = [name for name in (*option.opts, *option.secondary_opts) if name.startswith("--")]
        for name in names:
            stem = name.removeprefix("--")
            both = {f"--{stem.replace('-', '_')}", f"--{stem.replace('_', '-')}"}
            assert both <= set(names), f"{path} {name}"


def test_an_option_of_one_name_takes_one_kind_of_value() -> None:
    kinds: dict[str, dict[object, list[str]]] = defaultdict(lambda: defaultdict(list))
    for path, option in shown():
        name = primary(option)
        if name in OF_A_TRAINING:
            continue
        kind = (type(option.type), option.is_flag)
        kinds[name][kind].append(path)
    assert {name: dict(found) for name, found in kinds.items() if len(found) > 1} == {}


def test_what_is_said_in_the_same_words_has_the_same_name() -> None:
    names: dict[str, set[str]] = defaultdict(set)
    for _, option in shown():
        if option.help:
            names[option.help].add(primary(option))
    assert {words: found for words, found in names.items() if len(found) > 1} == {}


@pytest.mark.parametrize("name", sorted(READING_NAMES))
def test_how_data_are_read_is_said_by_one_name_wherever_data_are_read(name: str) -> None:
    having = {path for path, option in shown() if f"--{name}" in option.opts}
    data = {"data analyze", "data validate", "data clean", "data versions create"}
    assert {"train", "submit", "config show", *data} <= having
    assert ("predict" in having) == (name in ("encoding", "sheet", "text_column", "text_pair_column"))
    words = {option.help for _, option in shown() if f"--{name}" in option.opts}
    assert len(words) == 1


def test_every_key_that_a_short_name_stands_for_is_a_flag_beside_it() -> None:
    by_key = {**SHORT_NAMES, **FLAG_NAMES, **READING_NAMES}
    assert set(by_key.values()) <= set(field_schemas())
    given = {(path, name) for path, option in options() for name in option.opts}
    for name, key in by_key.items():
        if "." not in key:
            continue
        for path in ("train", "submit", "config show"):
            assert {(path, f"--{name}"), (path, f"--{key}")} <= given
    for path in ("data analyze", "data validate", "data clean", "data versions create"):
        assert {(path, f"--{key}") for key in READING_NAMES.values()} <= given
    assert {("predict", "--data.encoding"), ("resume", "--training.max_steps")} <= given


@pytest.mark.parametrize(("name", "before"), EARLIER.items())
def test_names_of_before_still_work_and_no_help_shows_them(name: str, before: tuple[str, str]) -> None:
    path, earlier = before
    command = dict(walk(app))[path]
    (option,) = (o for o in command.params if isinstance(o, click.Option) and name in o.opts)
    assert earlier in option.opts
    shown_help = CliRunner().invoke(app, [*path.split(), "--help"]).output
    assert name in shown_help
    assert f"{earlier} " not in shown_help
