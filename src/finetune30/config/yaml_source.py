"""YAML text to plain values, with the line of every key and no surprises.

Scalars follow the YAML 1.2 core schema, because configurations are written by people: `5e-4` is a number,
`eval_strategy: no` is the word "no", and `12:30:00` or `2026-01-01` stay text. `None` reads as null, as Python
users expect. Aliases, tags, duplicate keys and several documents are refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

Path = tuple[str, ...]

#: Far above any real configuration; keeps nested brackets from exhausting the stack.
MAX_DEPTH = 20

_NULL = re.compile(r"(?:~|null|Null|NULL|None|)\Z")
_BOOL = re.compile(r"(?:true|True|TRUE|false|False|FALSE)\Z")
_INT = re.compile(r"(?:[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)\Z")
_FLOAT = re.compile(
    r"(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))\Z"
)
#: Python refuses to read longer integers; no key of ours needs one.
_MAX_DIGITS = 400


@dataclass(frozen=True)
class YamlFault:
    """One thing wrong with the text itself; `line` counts from 1."""

    line: int
    path: Path
    problem: str


@dataclass
class YamlDocument:
    """The values of a YAML text, the line of each key and what was wrong with the text."""

    tree: Any = None
    lines: dict[Path, int] = field(default_factory=dict)
    faults: list[YamlFault] = field(default_factory=list)


def load_yaml_text(text: str, reads_as_text: Callable[[Path], bool] = lambda _path: False) -> YamlDocument:
    """Read YAML text; faults are collected in the document instead of raised.

    `reads_as_text(path)` says at which keys an unquoted number or boolean is to stay text.
    """
    document = YamlDocument()
    try:
        problem = _forbidden_construct(text)
        if problem is not None:
            document.faults.append(problem)
            return document
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        document.faults.append(_syntax_fault(error, text))
        return document
    if node is not None:
        document.tree = _Builder(document, reads_as_text).build(node, ())
    return document


def load_yaml_value(text: str, *, stays_text: bool) -> Any:
    """Read one value as it would stand behind `key:` in a file; text that is no YAML stays as it is.

    At a place for text only null, quotes and brackets mean what they mean in a file: `|` and `#` are separators that
    people give on the command line, not the beginning of a block or of a comment.
    """
    bare = text.strip()
    if stays_text and bare[:1] not in ("'", '"', "[", "{"):
        if not bare:
            return text or None
        return None if _NULL.match(bare) else bare
    document = load_yaml_text(text, lambda _path: stays_text)
    return text if document.faults else document.tree


def resolves_to_text(text: str) -> bool:
    """Say whether an unquoted scalar would be read back as text."""
    return not any(pattern.match(text) for pattern in (_NULL, _BOOL, _INT, _FLOAT))


def _forbidden_construct(text: str) -> YamlFault | None:
    """Look at the event stream, which needs no recursion, before any tree is built."""
    depth = documents = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        line = event.start_mark.line + 1 if event.start_mark is not None else 1
        if isinstance(event, yaml.AliasEvent):
            return YamlFault(line, (), f"alias *{event.anchor}: aliases are not supported, write the value out")
        tag = getattr(event, "tag", None)
        if tag is not None:
            return YamlFault(line, (), f"tag {tag!r} is not supported, write a plain value")
        if isinstance(event, yaml.DocumentStartEvent):
            documents += 1
            if documents > 1:
                return YamlFault(line, (), "a second document (---) starts here; one file holds one configuration")
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > MAX_DEPTH:
                return YamlFault(line, (), f"nested deeper than {MAX_DEPTH} levels")
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
    return None


def _syntax_fault(error: yaml.YAMLError, text: str) -> YamlFault:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    if mark is None:
        position = getattr(error, "position", None)
        line = text.count("\n", 0, position) + 1 if isinstance(position, int) else 1
        return YamlFault(line, (), f"not readable as YAML: {' '.join(str(error).split())[:200]}")
    if "'\\t'" in str(getattr(error, "problem", "")):
        return YamlFault(mark.line + 1, (), "a tab cannot indent YAML; use spaces")
    problem = ", ".join(part for part in (getattr(error, "context", None), getattr(error, "problem", None)) if part)
    return YamlFault(mark.line + 1, (), f"column {mark.column + 1}: not readable as YAML: {problem}")


class _Builder:
    def __init__(self, document: YamlDocument, reads_as_text: Callable[[Path], bool]) -> None:
        self._document = document
        self._reads_as_text = reads_as_text

    def build(self, node: yaml.Node, path: Path) -> Any:
        if isinstance(node, yaml.MappingNode):
            return dict(self._items(node, path))
        if isinstance(node, yaml.SequenceNode):
            return [self.build(child, path) for child in node.value]
        return self._scalar(node, path)

    def _items(self, node: yaml.MappingNode, path: Path) -> Iterator[tuple[str, Any]]:
        seen: dict[str, int] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                self._fault(line, path, "a key must be a word, not a list or section")
                continue
            key = str(key_node.value)
            if key in seen:
                self._fault(line, (*path, key), f"given twice, first on line {seen[key]}")
                continue
            seen[key] = line
            self._document.lines[(*path, key)] = line
            yield key, self.build(value_node, (*path, key))

    def _scalar(self, node: yaml.Node, path: Path) -> Any:
        text = str(node.value)
        quoted = getattr(node, "style", None) is not None
        if quoted:
            return text
        if _NULL.match(text):
            return None
        return text if self._reads_as_text(path) else _number_or_text(text)

    def _fault(self, line: int, path: Path, problem: str) -> None:
        self._document.faults.append(YamlFault(line, path, problem))


def _number_or_text(text: str) -> bool | int | float | str:
    if _BOOL.match(text):
        return text.lower() == "true"
    if _INT.match(text) and len(text) <= _MAX_DIGITS:
        return int(text, 0) if text[:2] in ("0x", "0o") else int(text)
    if _FLOAT.match(text):
        return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
    return text
