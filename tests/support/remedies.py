"""Remedies as they stand in the code: what a person is told to do, where that names a setting or a command.

Three kinds of places are read: what errors, findings and faults take as the thing to do (whatever key it names); what
a doubt proposes; and every other text that reaches a person and names a command, a setting of the environment or a
flag, or says what to do with a key. Texts are followed through constants, choices, sums, pieces of other texts and
functions.
"""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import yaml

import finetune30
from finetune30 import errors
from support.messages import fixed_text

ROOT = Path(finetune30.__file__).parent
_COMMAND = r"\bft30 [a-z]+|(?<![^\s(])(?<!var\()--[a-z][a-z_-]+|\bFT30_[A-Z_]+"
_KEY = r"\b(?:model|lora|data|training)\.(?:[a-z_]+|\{\})"
#: What a person can follow to the letter: a key of the configuration, a command, a flag, a setting of the environment.
_NAMED = re.compile(f"{_KEY}|{_COMMAND}")
#: In other texts keys are spoken of in many ways; these tell to do something with one.
_TOLD = re.compile(rf"{_COMMAND}|\b(?:set|write|change|leave|lower|raise|put)\b[^.;]*(?:{_KEY})")
#: Variables and arguments that hold what to do.
_HOLDERS = frozenset({"remedy", "fix", "hint"})
#: Arguments that describe and tell nobody to do anything: of commands, options and fields.
_DESCRIBING = frozenset({"help", "epilog", "short_help", "description", "metavar", "source"})


def find_remedies() -> dict[str, str]:
    """Return every text that names what to do, values as `{}`, with the module (or catalogue) in which it stands."""
    found: dict[str, str] = {}
    for path in sorted(ROOT.rglob("*.py")):
        for text in find_remedies_in(path.read_text(encoding="utf-8")):
            found.setdefault(text, path.relative_to(ROOT).as_posix())
    for path in sorted((ROOT / "ui" / "strings").glob("*.yaml")):
        for words in yaml.safe_load(path.read_text(encoding="utf-8")).values():
            if (text := words.get("en")) and _TOLD.search(text):
                found.setdefault(text, path.relative_to(ROOT).as_posix())
    return found


def find_remedies_in(code: str) -> Iterator[str]:
    """Return every text of a module that names what to do, values as `{}`."""
    module = _Module(ast.parse(code))
    yield from module.remedies()
    yield from module.other_texts()


class _Module:
    """One file: its texts, and what its names stand for."""

    def __init__(self, tree: ast.Module) -> None:
        self._tree = tree
        self._assigned: dict[str, list[ast.expr]] = {}
        for node in ast.walk(tree):
            for name, value in _assignments(node):
                self._assigned.setdefault(name, []).append(value)
            if isinstance(node, ast.FunctionDef):
                returned = [part.value for part in ast.walk(node) if isinstance(part, ast.Return) and part.value]
                self._assigned.setdefault(node.name, []).extend(returned)

    def remedies(self) -> Iterator[str]:
        """Return what stands where errors, findings, faults and doubts take what to do."""
        for node in ast.walk(self._tree):
            for value in _remedies_at(node):
                yield from (text for text in self._texts_of(value) if _NAMED.search(text))

    def other_texts(self) -> Iterator[str]:
        """Return the other texts that tell what to do; not what is said to have failed, nor what describes options."""
        taken = {id(part) for value in self._not_told() for part in ast.walk(value)}
        for node in ast.walk(self._tree):
            if id(node) not in taken and isinstance(node, ast.Constant | ast.JoinedStr | ast.BinOp):
                taken |= {id(part) for part in ast.walk(node)}  # a text within another is read with it
                lines = [line.strip() for text in _literals_of(node) for line in text.splitlines()]
                yield from (line for line in lines if " " in line and _TOLD.search(line))

    def _not_told(self) -> Iterator[ast.expr]:
        for node in ast.walk(self._tree):
            yield from _remedies_at(node)
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
                yield node.value  # a docstring
            if isinstance(node, ast.Call):
                yield from (keyword.value for keyword in node.keywords if keyword.arg in _DESCRIBING)
                if (place := _places().get(_name_of(node))) is not None:
                    yield from node.args[:place]
                if _name_of(node) in ("Fault", "Option", "option", "Words"):
                    yield from node.args
        for name in {name for value in self._read_elsewhere() for name in _names_in(value)}:
            yield from self._assigned.get(name, ())

    def _read_elsewhere(self) -> Iterator[ast.expr]:
        """Return the expressions whose names are followed by `remedies`, or that describe."""
        for node in ast.walk(self._tree):
            yield from _remedies_at(node)
            if isinstance(node, ast.Call):
                yield from (keyword.value for keyword in node.keywords if keyword.arg in _DESCRIBING)

    def _texts_of(self, node: ast.expr, seen: frozenset[str] = frozenset()) -> Iterator[str]:
        """Return the texts that an expression may be, and those of the names in it."""
        yield from _literals_of(node)
        for name in _names_in(node) - seen:
            for value in self._assigned.get(name, ()):
                yield from self._texts_of(value, seen | {name})


def _assignments(node: ast.AST) -> Iterator[tuple[str, ast.expr]]:
    if isinstance(node, ast.Assign | ast.AugAssign | ast.AnnAssign) and node.value is not None:
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        yield from ((target.id, node.value) for target in targets if isinstance(target, ast.Name))


def _remedies_at(node: ast.AST) -> Iterator[ast.expr]:
    yield from (value for name, value in _assignments(node) if name in _HOLDERS)
    if isinstance(node, ast.Dict):
        pairs = zip(node.keys, node.values, strict=True)
        yield from (value for key, value in pairs if isinstance(key, ast.Constant) and key.value in _HOLDERS)
    if not isinstance(node, ast.Call):
        return
    yield from (keyword.value for keyword in node.keywords if keyword.arg in _HOLDERS)
    place = _places().get(_name_of(node))
    if place is not None and len(node.args) > place:
        yield node.args[place]


def _name_of(call: ast.Call) -> str:
    if isinstance(call.func, ast.Name):
        return call.func.id
    if isinstance(call.func, ast.Attribute) and isinstance(call.func.value, ast.Name):
        owner = call.func.value.id
        return f"found.{call.func.attr}" if owner == "found" else call.func.attr
    return ""


@cache
def _places() -> dict[str, int]:
    """Return at which place errors, and functions that make errors, findings and doubts, take what to do."""
    places = {"fault_at": 2, "found.add": 2, "Words": 0}
    for name, kind in vars(errors).items():
        if isinstance(kind, type) and issubclass(kind, errors.Finetune30Error):
            names = list(inspect.signature(kind).parameters)
            if "remedy" in names:
                places[name] = names.index("remedy")
    return places


def _names_in(node: ast.expr) -> set[str]:
    """Return the names whose texts may become part of an expression's; not those that only choose or are looked up."""
    if isinstance(node, ast.Name):
        return {node.id}
    if isinstance(node, ast.IfExp):
        return _names_in(node.body) | _names_in(node.orelse)
    if isinstance(node, ast.BinOp):
        return _names_in(node.left) | _names_in(node.right)
    if isinstance(node, ast.JoinedStr):
        return {name for part in node.values if isinstance(part, ast.FormattedValue) for name in _names_in(part.value)}
    if isinstance(node, ast.Subscript):
        return _names_in(node.value)
    if isinstance(node, ast.Call):
        return {node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")}
    return set()


def _literals_of(node: ast.expr) -> Iterator[str]:
    """Return the texts that stand in an expression: both branches of a choice, parts that are added up as one."""
    if isinstance(node, ast.IfExp):
        yield from _literals_of(node.body)
        yield from _literals_of(node.orelse)
    elif isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.JoinedStr):
        yield fixed_text(node)
    elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        left, right = list(_literals_of(node.left)) or ["{}"], list(_literals_of(node.right)) or ["{}"]
        yield from (before + after for before in left for after in right)
    elif isinstance(node, ast.Dict):
        yield from (text for value in node.values for text in _literals_of(value))
    elif isinstance(node, ast.Subscript):
        yield from _literals_of(node.value)
