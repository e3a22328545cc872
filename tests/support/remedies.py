"""Remedies as they stand in the code: what an error tells a person to do, where that names a setting or a command."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import finetune30
from finetune30 import errors

ROOT = Path(finetune30.__file__).parent
#: What a person can follow to the letter: a key of the configuration, a command, a flag, a setting of the environment.
_NAMED = re.compile(r"\b(?:model|lora|data|training)\.(?:[a-z_]+|\{\})|\bft30 [a-z]+|--[a-z][a-z_-]+|\bFT30_[A-Z_]+")


def find_remedies() -> dict[str, str]:
    """Return every remedy that names a setting or a command, values as `{}`, with the module in which it stands."""
    found: dict[str, str] = {}
    for path in sorted(ROOT.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            for value in _remedies_at(node):
                for text in _texts_of(value):
                    if _NAMED.search(text):
                        found.setdefault(text, path.relative_to(ROOT).as_posix())
    return found


def _remedies_at(node: ast.AST) -> Iterator[ast.expr]:
    if isinstance(node, ast.Assign | ast.AugAssign | ast.AnnAssign):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        if any(isinstance(target, ast.Name) and target.id in ("remedy", "fix") for target in targets) and node.value:
            yield node.value
    if not isinstance(node, ast.Call):
        return
    yield from (keyword.value for keyword in node.keywords if keyword.arg == "remedy")
    name = node.func.id if isinstance(node.func, ast.Name) else ""
    if isinstance(node.func, ast.Attribute) and isinstance(node.func.value, ast.Name) and node.func.value.id == "found":
        name = f"found.{node.func.attr}"
    place = _places().get(name)
    if place is not None and len(node.args) > place:
        yield node.args[place]


@cache
def _places() -> dict[str, int]:
    """Return at which place errors, and functions that make errors and findings of rows, take what to do."""
    places = {"fault_at": 2, "found.add": 2}
    for name, kind in vars(errors).items():
        if isinstance(kind, type) and issubclass(kind, errors.Finetune30Error):
            names = list(inspect.signature(kind).parameters)
            if "remedy" in names:
                places[name] = names.index("remedy")
    return places


def _texts_of(node: ast.expr) -> Iterator[str]:
    """Return the texts that an expression may be: both branches of a choice, parts that are added up as one."""
    if isinstance(node, ast.IfExp):
        yield from _texts_of(node.body)
        yield from _texts_of(node.orelse)
    elif isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.JoinedStr):
        yield "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values)
    elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        yield from (left + right for left in _texts_of(node.left) for right in _texts_of(node.right))
