"""Every text that tells what to do with a setting or a command has a test that does it to the letter."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import click
import pytest
import yaml

from finetune30.cli.main import app
from finetune30.config.fields import field_schemas
from finetune30.settings import PREFIX, Settings
from finetune30.ui.messages import load_templates
from finetune30.ui.translations import load_catalogue
from support.remedies import find_remedies, find_remedies_in

TESTS = Path(__file__).parents[2]
#: File of tests -> remedy (values as `{}`) -> the test that follows it. A new remedy needs its line there.
FOLLOWED: dict[str, dict[str, str]] = yaml.safe_load(
    (TESTS / "support" / "followed_remedies.yaml").read_text(encoding="utf-8")
)
_KEY = r"\b((?:model|lora|data|training)\.[a-z_.]*[a-z])\b(?!\()"


def test_every_remedy_is_followed_by_a_test():
    found = find_remedies()
    listed = [text for remedies in FOLLOWED.values() for text in remedies]
    assert {text: place for text, place in found.items() if text not in listed} == {}
    assert [text for text in listed if text not in found] == []
    assert len(listed) == len(set(listed))


@pytest.mark.parametrize("file", FOLLOWED)
def test_the_tests_that_follow_remedies_exist(file):
    tree = ast.parse((TESTS / file).read_text(encoding="utf-8"))
    names = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    assert [name for name in FOLLOWED[file].values() if name not in names] == []


@pytest.mark.parametrize(
    "code",
    [
        'raise DataError("it broke", "set data.encoding to big5")',
        'raise DataError("it broke", remedy="set data.encoding to " + name)',
        'REMEDY = "run it with: ft30 up"\nraise DataError("it broke", REMEDY)',
        'def advise():\n    return "lower data.max_length"\n\nraise DataError("it broke", f"{advise()}; or stop")',
        'way = "to 1" if one else "model.num_labels to 2"\nremedy = f"set it {way}"',
        'fault_at(path, 3, "give --yes")',
        'error = {"error": "lost", "remedy": f"go on with: ft30 resume {run}"}',
        'Fault(key, problem, hint="write training.device: cpu")',
        'Words("a lower training.learning_rate", "降低 training.learning_rate")',
        'note(f"{count} rows; then: ft30 data relabel {path}")',
        'raise ClickException("name the folder in FT30_DATA_FOLDER")',
        'HEADER = "Written by hand.\\n\\nrun it with: ft30 train"',
        '{"model": "set model.name to another"}[kind]',
    ],
)
def test_remedies_are_found_however_they_are_spelt(code):
    assert len(list(find_remedies_in(code))) == 1


@pytest.mark.parametrize(
    "code",
    [
        '"""Set data.encoding as ft30 train does."""',
        'raise DataError("--config and --preset cannot both be given", "give one")',
        'click.option("--yes", help="As ft30 up does.")',
        'raise DataError("data.encoding is not known", "choose another")',
        'source = read("FT30_DATA_FOLDER")',
    ],
)
def test_what_tells_nobody_to_do_anything_is_no_remedy(code):
    assert list(find_remedies_in(code)) == []


def test_every_command_that_a_remedy_names_is_one():
    for text in find_remedies():
        for words in re.findall(r"\bft30(?! command)((?: [a-z]+)+)", text):
            command, path = cast("click.Command", app), words.split()
            while path and isinstance(command, click.Group):
                name = path.pop(0)
                found = command.get_command(click.Context(command), name)
                assert found is not None, text
                command = found


def test_every_command_that_a_remedy_names_has_the_arguments_that_it_needs():
    for text in find_remedies():
        for line in re.findall(r"\bft30(?! command)(?: [a-z]+)+(?: [^\s;,:`()]+)*", text):
            words = line.split()[1:]
            command = cast("click.Command", app)
            while words and isinstance(command, click.Group):
                found = command.get_command(click.Context(command), words[0])
                if found is None:
                    break
                command, words = found, words[1:]
            needed = [one for one in command.params if isinstance(one, click.Argument) and one.required]
            assert isinstance(command, click.Group) or len(words) >= len(needed), text


def test_every_key_flag_and_setting_that_a_remedy_names_is_one():
    keys = set(field_schemas())
    sections = {key.rpartition(".")[0] for key in field_schemas()}
    flags = {flag for command in _commands(app) for option in _options(command) for flag in option.opts}
    settings = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields}
    for text in find_remedies():
        named = re.findall(_KEY, text)
        assert {key for key in named if key not in keys | sections} == set(), text
        assert {flag for flag in re.findall(r"--[a-z][a-z_-]+", text) if flag not in flags | {"--help"}} == set(), text
        assert set(re.findall(r"\bFT30_[A-Z_]+", text)) <= settings, text


def test_a_remedy_in_chinese_names_the_same_settings():
    catalogue = {words["en"]: words["zh"] for words in load_catalogue().values() if words.get("en")}
    named = rf"{_KEY}|\bFT30_[A-Z_]+"
    differing = {
        en: zh
        for en, zh in {**load_templates(), **catalogue}.items()
        if (zh and sorted(map(str, re.findall(named, en))) != sorted(map(str, re.findall(named, zh))))
    }
    assert differing == {}


def _options(command: click.Command) -> list[click.Parameter]:
    return command.get_params(click.Context(command))  # some are made when a command is used


def _commands(command: click.Command) -> Iterator[click.Command]:
    yield command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            if found is not None:
                yield from _commands(found)
