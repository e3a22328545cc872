"""Wherever a run is named, NAME@alias and NAME:7 name the run of that version: every command and every route."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest

import finetune30
from finetune30.cli.main import app
from finetune30.errors import NotFoundError
from finetune30.store import RunStore
from support.following import Terminal
from support.registered import finish_model_run, register_ready

SOURCES = Path(finetune30.__file__).parent
#: Commands that take a run, with what they need besides it, so that they get as far as looking the run up.
COMMANDS: dict[str, tuple[str, ...]] = {
    "predict": ("some text",),
    "chat": (),
    "export": (),
    "push": ("team/reviews", "--dry-run"),
    "mirror": ("--to", "tensorboard"),
    "resume": (),
    "replay": (),
    "compare": ("other",),
    "cancel": (),
    "retry": (),
    "test": (),
    "runs show": (),
    "runs logs": (),
    "runs history": (),
    "runs verify": (),
    "runs cancel": (),
    "runs delete": ("--yes",),
    "runs edit": ("--star",),
    "data suspects": (),
    "models register": ("others",),
}
#: Take a run by its full id only: hidden from people.
HIDDEN = frozenset({"attempt", "member", "read", "answer"})


def walk(group: click.Group, prefix: str = "") -> Iterator[tuple[str, click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from walk(command, f"{prefix}{name} ")
        else:
            yield prefix + name, command


def test_the_table_holds_every_command_that_takes_a_run() -> None:
    found = {
        name
        for name, command in walk(app)
        for parameter in command.params
        if isinstance(parameter, click.Argument) and parameter.name in ("run", "runs")
    }
    assert found - HIDDEN == COMMANDS.keys()


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_takes_a_version_for_a_run(name: str, capsys: pytest.CaptureFixture[str], store: RunStore) -> None:
    ft30 = Terminal(capsys)
    run = finish_model_run(store, Path("results"), "one")
    finish_model_run(store, Path("results"), "other")
    register_ready(store, Path("results"), run, "reviews")
    assert ft30("models", "promote", "reviews", "1", "--to", "production", "--reason", "a start").code == 0
    rest = COMMANDS[name]
    told = ft30(*name.split(), "reviews@staging", *rest)
    assert "there is no 'reviews@staging'; of model 'reviews' there are :1, @production" in told.err
    for version in ("reviews@production", "reviews:1", "reviews"):
        said = ft30(*name.split(), version, *rest)
        assert "there is no 'reviews" not in said.err, said
        assert f"there is no run '{version}'" not in said.err, said
    assert "there is no run 'views'" in ft30(*name.split(), "views", *rest).err


def test_versions_are_compared_as_their_runs_are(capsys: pytest.CaptureFixture[str], store: RunStore) -> None:
    ft30 = Terminal(capsys)
    runs = [
        finish_model_run(store, Path("results"), name, wrong=wrong) for name, wrong in (("one", (1, 2)), ("two", ()))
    ]
    for run in runs:
        register_ready(store, Path("results"), run, "reviews")
    wanted = ft30("compare", *(run.id for run in runs))
    found = ft30("models", "compare", "reviews:1", "reviews")
    assert (found.code, found.out) == (0, wanted.out)
    assert "two" in found.out
    assert "names no version of a model" in ft30("models", "compare", "a/b", "reviews").err


def test_runs_are_looked_up_in_one_place() -> None:
    """Nobody but the store's own query reads a run by a name, so none can miss what a version means."""
    looked_up = set()
    for path in SOURCES.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Compare) and _names_runs_by(node, ("name", "folder")):
                looked_up.add(path.relative_to(SOURCES).as_posix())
    assert looked_up == {"store/queries.py"}


def test_a_version_of_no_model_is_no_run(store: RunStore) -> None:
    with pytest.raises(NotFoundError, match="there is no model 'nothing'"):
        store.get("nothing@production")


def _names_runs_by(node: ast.Compare, columns: tuple[str, ...]) -> bool:
    sides: list[Any] = [node.left, *node.comparators]
    return any(
        isinstance(side, ast.Attribute)
        and side.attr in columns
        and isinstance(side.value, ast.Attribute)
        and side.value.attr == "c"
        and isinstance(side.value.value, ast.Name)
        and side.value.value.id == "runs"
        for side in sides
    )
