"""Messages as they stand in the code: what errors, faults, findings and notes say to a person, and what to do.

Texts are followed through constants, choices, sums, names, parameters and functions of a module; what is known only
when the program runs is `{}`. Pieces that are put together are put together here too, so that a message is read as a
person would read it.
"""

from __future__ import annotations

import ast
import inspect
import itertools
import re
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

import finetune30
from finetune30 import errors

ROOT = Path(finetune30.__file__).parent
#: Rooms with words of their own: the terminal's are English, the page's stand in its catalogue.
OTHER_WORDS = frozenset({"cli", "ui"})
#: Rooms whose checks of values raise plain errors, which become the faults of a request.
_VALIDATING = frozenset({"api", "config"})
VALUE = "{}"
#: Arguments of errors, and of functions that make faults, findings and evidence, that a person reads.
_SAID = {
    "fault_at": {1, 2}, "Encoding": {1}, "Fault": {1}, "found.add": {2}, "Detected": {0, 1}, "notes.append": {0},
}  # fmt: skip
_SAID_BY_NAME = frozenset({"message", "found", "remedy", "hint", "fix", "because", "notes"})
#: Entries of answers, and variables, that a person reads.
_ENTRIES = frozenset({"message", "remedy", "problem", "hint", "reason", "refusal", "method"})
_HOLDERS = frozenset({"remedy", "hint", "fix", "because", "note", "notes"})
_MOST_READINGS = 60
_DEEPEST = 8

Scope = ast.FunctionDef | None


def find_messages() -> dict[str, str]:
    """Return every text that a person may read, values as `{}`, with the module in which it stands."""
    found: dict[str, str] = {}
    for path in sorted(ROOT.rglob("*.py")):
        place = path.relative_to(ROOT)
        if place.parts[0] not in OTHER_WORDS:
            validates = place.parts[0] in _VALIDATING
            for text in find_messages_in(path.read_text(encoding="utf-8"), validates=validates):
                found.setdefault(text, place.as_posix())
    return found


def find_messages_in(code: str, *, validates: bool = False) -> Iterator[str]:
    """Return every text of a module that a person may read, values as `{}`.

    `validates`: what its checks of values raise becomes the text of a fault.
    """
    module = _Module(ast.parse(code))
    raised = [(call.args[0], scope) for call, scope in module.calls if _name_of(call) == "ValueError" and call.args]
    for value, scope in [*module.said(), *(raised if validates else ())]:
        texts = (text.strip() for text in module.readings(value, scope))
        yield from (text for text in texts if " " in text and re.search(r"[a-z]{3}", text))


class _Module:
    """One file: its calls, and what its names stand for, function by function."""

    def __init__(self, tree: ast.Module) -> None:
        self.calls: list[tuple[ast.Call, Scope]] = []
        self._entries: list[tuple[ast.expr, Scope]] = []
        self._functions: dict[str, ast.FunctionDef] = {}
        self._assigned: dict[tuple[Scope, str], list[tuple[ast.expr, bool]]] = {}
        self._read(tree, None)

    def _read(self, node: ast.AST, scope: Scope) -> None:
        for below in ast.iter_child_nodes(node):
            if isinstance(below, ast.FunctionDef):
                self._functions[below.name] = below
                self._read(below, below)
                continue
            if isinstance(below, ast.Call):
                self.calls.append((below, scope))
            for name, value, is_added in _assignments(below):
                self._assigned.setdefault((scope, name), []).append((value, is_added))
            if isinstance(below, ast.Tuple) and _is_notes(below):
                self._entries.append((below, scope))
            if isinstance(below, ast.Dict):
                self._entries += [(value, scope) for value in _said_in_entries(below)]
            self._read(below, scope)

    def said(self) -> Iterator[tuple[ast.expr, Scope]]:
        """Return the expressions that a person reads, and the function in which each stands."""
        yield from ((value, scope) for call, scope in self.calls for value in _said_in(call))
        yield from self._entries
        for scope, name in self._assigned:
            if name in _HOLDERS:
                yield ast.Name(name), scope

    def readings(self, node: ast.expr, scope: Scope, depth: int = 0) -> list[str]:
        """Return what an expression may read as, at most so many ways; a value of which nothing is known is `{}`."""
        if depth > _DEEPEST:
            return [VALUE]
        return sorted(dict.fromkeys(self._readings(node, scope, depth + 1)))[:_MOST_READINGS]

    def _readings(self, node: ast.expr, scope: Scope, depth: int) -> list[str]:
        match node:
            case ast.Constant(value=str(text)):
                return [text]
            case ast.IfExp():
                return self.readings(node.body, scope, depth) + self.readings(node.orelse, scope, depth)
            case ast.JoinedStr():
                return _put_together(self._part(part, scope, depth) for part in node.values)
            case ast.BinOp(op=ast.Add()):
                return _put_together(self.readings(side, scope, depth) for side in (node.left, node.right))
            case ast.BoolOp(values=values):
                return [text for value in values for text in self.readings(value, scope, depth)]
            case ast.List(elts=items) | ast.Tuple(elts=items):
                return [text for item in items for text in self.readings(item, scope, depth)]
            case ast.Starred(value=value):
                return self.readings(value, scope, depth)
            case ast.Dict(values=values) | ast.Subscript(value=ast.Dict(values=values)):
                return [text for value in values for text in self.readings(value, scope, depth)]
            case ast.Subscript(value=ast.Name() as name) if self._is_table(name):
                return self.readings(name, scope, depth)
            case ast.Name(id=name):
                return self._readings_of_name(name, scope, depth)
            case ast.Call(func=ast.Name(id=name)) if name in self._functions:
                return self._readings_of_function(self._functions[name], depth)
        return [VALUE]

    def _part(self, part: ast.expr, scope: Scope, depth: int) -> list[str]:
        """Return what a piece of an f-string may read as; a single word is a value like any other."""
        if isinstance(part, ast.FormattedValue):
            if _words_counted(part) is not None:
                return [fixed_text(part)]
            if part.conversion != -1 or part.format_spec is not None:
                return [VALUE]
            texts = self.readings(part.value, scope, depth)
            return [text if " " in text or not text else VALUE for text in texts]
        return self.readings(part, scope, depth)

    def _is_table(self, name: ast.Name) -> bool:
        entries = self._assigned.get((None, name.id), ())
        return any(isinstance(value, ast.Dict) for value, _ in entries)

    def _readings_of_name(self, name: str, scope: Scope, depth: int) -> list[str]:
        entries = self._assigned.get((scope, name)) if scope else None
        if entries is None and scope is not None and name in (names := [arg.arg for arg in _arguments(scope)]):
            return self._readings_of_argument(scope, names.index(name), name, depth)
        owner = scope if entries else None
        entries = entries or self._assigned.get((None, name))
        if not entries:
            return [VALUE]
        texts: list[str] = []
        for value, is_added in entries:
            read = self.readings(value, owner, depth)
            texts += _put_together([texts or [""], read]) if is_added else read
        return texts

    def _readings_of_argument(self, function: ast.FunctionDef, place: int, name: str, depth: int) -> list[str]:
        """Return what the callers of a function in this module give for an argument."""
        texts: list[str] = []
        for call, scope in self.calls:
            if isinstance(call.func, ast.Name) and call.func.id == function.name:
                named = [keyword.value for keyword in call.keywords if keyword.arg == name]
                for value in call.args[place : place + 1] or named:
                    texts += self.readings(value, scope, depth)
        return texts or [VALUE]

    def _readings_of_function(self, function: ast.FunctionDef, depth: int) -> list[str]:
        returned = [part.value for part in ast.walk(function) if isinstance(part, ast.Return) and part.value]
        return [text for value in returned for text in self.readings(value, function, depth)] or [VALUE]


def fixed_text(node: ast.expr) -> str:
    """Return an f-string, or a piece of one, with `{}` for its values; what is counted stands in the plural."""
    if isinstance(node, ast.JoinedStr):
        return "".join(map(fixed_text, node.values))
    if isinstance(node, ast.Constant):
        return str(node.value)
    words = _words_counted(node)
    return VALUE if words is None else f"{VALUE} {words}"


def _words_counted(node: ast.expr) -> str | None:
    """Return what a call of `finetune30.values.say_count` in an f-string counts; None for another value."""
    match node:
        case ast.FormattedValue(
            value=ast.Call(func=ast.Name(id="say_count"), args=[_, ast.Constant(value=str(words)), *_])
        ):
            return words
    return None


def _assignments(node: ast.AST) -> Iterator[tuple[str, ast.expr, bool]]:
    """Return name and value of what a statement assigns, and whether it is added to what is there."""
    if not isinstance(node, ast.Assign | ast.AugAssign | ast.AnnAssign) or node.value is None:
        return
    for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
        if isinstance(target, ast.Name):
            yield target.id, node.value, isinstance(node, ast.AugAssign)
        if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
            for name, value in zip(target.elts, node.value.elts, strict=False):
                if isinstance(name, ast.Name):
                    yield name.id, value, False


def _arguments(function: ast.FunctionDef) -> list[ast.arg]:
    return [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]


def _put_together(parts: Iterable[list[str]]) -> list[str]:
    return ["".join(chosen) for chosen in itertools.islice(itertools.product(*parts), _MOST_READINGS)]


def _said_in(call: ast.Call) -> Iterator[ast.expr]:
    name = _name_of(call)
    places = _SAID.get(name) or _places_of_errors().get(name)
    if places is None:
        yield from (keyword.value for keyword in call.keywords if keyword.arg == "notes")
        return
    yield from (value for place, value in enumerate(call.args) if place in places)
    yield from (keyword.value for keyword in call.keywords if keyword.arg in _SAID_BY_NAME)


def _said_in_entries(node: ast.Dict) -> Iterator[ast.expr]:
    for key, value in zip(node.keys, node.values, strict=True):
        if isinstance(key, ast.Constant) and key.value in _ENTRIES:
            yield value
        # What the framework's own errors say, by status: code, message, remedy.
        if isinstance(key, ast.Constant) and isinstance(key.value, int) and isinstance(value, ast.Tuple):
            yield from value.elts


def _is_notes(node: ast.Tuple) -> bool:
    """Tell whether a tuple holds notes: nothing but texts put together of several words, as readers return them."""
    return bool(node.elts) and all(
        isinstance(item, ast.JoinedStr)
        and any(isinstance(part, ast.Constant) and " " in str(part.value).strip() for part in item.values)
        for item in node.elts
    )


def _name_of(call: ast.Call) -> str:
    match call.func:
        case ast.Name(id=name):
            return name
        case ast.Attribute(value=ast.Name(id=owner), attr=name):
            return f"{owner}.{name}"
    return ""


@cache
def _places_of_errors() -> dict[str, set[int]]:
    kinds = {name: kind for name, kind in vars(errors).items() if isinstance(kind, type)}
    return {
        name: {place for place, word in enumerate(inspect.signature(kind).parameters) if word in _SAID_BY_NAME}
        for name, kind in kinds.items()
        if issubclass(kind, errors.Finetune30Error)
    }
