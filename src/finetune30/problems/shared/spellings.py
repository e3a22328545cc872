"""Which spellings are one label: a label is text, and joined with another only where nothing else can be meant."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence

from finetune30.data.problem import Detected
from finetune30.values import say_count

_SHOWN = 6
#: Python turns no longer texts into whole numbers.
_INTEGER = re.compile(r"[+-]?[0-9]{1,4000}(?:\.0+)?")
#: A zero before other digits makes a code of a number, so it does not count here.
_PLAIN_INTEGER = re.compile(r"[+-]?(?:0|[1-9][0-9]{0,3999})(?:\.0+)?")
#: Longer ones are no quantities but names: floating-point numbers do not tell them apart.
_MOST_DIGITS = 15


def are_integers(names: Collection[str]) -> bool:
    """Tell whether there are names and all of them are whole numbers in ASCII digits."""
    return bool(names) and all(map(_INTEGER.fullmatch, names))


def integer_of(name: str) -> int:
    """Return the value of a name that is a whole number."""
    return int(name.partition(".")[0])


def are_measures(names: Collection[str]) -> bool:
    """Tell whether names may be quantities: numbers, none a code (with zeros before it) or an id (too long)."""
    return bool(names) and all(map(_may_be_measure, names))


def _may_be_measure(name: str) -> bool:
    if _INTEGER.fullmatch(name):
        return bool(_PLAIN_INTEGER.fullmatch(name)) and len(name.partition(".")[0].lstrip("+-")) <= _MOST_DIGITS
    try:
        float(name)
    except ValueError:
        return False
    return name.isascii() and "_" not in name


def join_spellings(labels: Collection[str]) -> tuple[dict[str, str], tuple[Detected, ...]]:
    """Return which of the distinct labels are read as others, and the words that say so.

    Unicode's forms of the same characters are joined; truth values where all labels are such; `1` and `1.0` where all
    labels are whole numbers as a program writes them. Anything else stays as it was written.
    """
    spellings: dict[str, str] = {}
    said: list[Detected] = []
    names = list(labels)
    for join, say in ((_by_form, _say_form), (_by_truth, _say_truth), (_by_number, _say_number)):
        changed = join(names)
        if not changed:
            continue
        said.append(say(changed))
        names = list({changed.get(name, name) for name in names})
        now = {label: spellings.get(label, label) for label in labels}
        spellings = {label: read for label, name in now.items() if (read := changed.get(name, name)) != label}
    return spellings, (*said, *_say_lookalikes(names))


def _by_form(labels: Collection[str]) -> dict[str, str]:
    if all(map(str.isascii, labels)):
        return {}
    return _changed(labels, lambda label: unicodedata.normalize("NFC", label))


def _by_truth(labels: Collection[str]) -> dict[str, str]:
    if not all(label.lower() in ("true", "false") for label in labels):
        return {}
    lower = {label: label.lower() for label in labels}
    return {} if len(set(lower.values())) == len(lower) else {a: b for a, b in lower.items() if a != b}


def _by_number(labels: Collection[str]) -> dict[str, str]:
    if not labels or not all(map(_PLAIN_INTEGER.fullmatch, labels)):
        return {}
    return {label: number for label in labels if (number := _integer_text(label)) != label}


def _integer_text(label: str) -> str:
    text = label.partition(".")[0].lstrip("+")
    return "0" if text == "-0" else text


def _changed(labels: Collection[str], read: Callable[[str], str]) -> dict[str, str]:
    """Return label -> what it is read as, for labels that are read as another one is."""
    groups = defaultdict(list)
    for label in labels:
        groups[read(label)].append(label)
    joined = ((name, group) for name, group in groups.items() if len(group) > 1)
    return {label: name for name, group in joined for label in group if label != name}


def _say_form(changed: Mapping[str, str]) -> Detected:
    because = (
        f"{say_count(len(changed), 'labels differ')} from them only in the form in which Unicode writes their "
        f"characters"
    )
    return Detected(f"labels read as {_listed(set(changed.values()))}", because)


def _say_truth(changed: Mapping[str, str]) -> Detected:
    spelled = _listed(changed)
    return Detected("labels read as 'true' and 'false'", f"all labels are truth values, some of them spelled {spelled}")


def _say_number(changed: Mapping[str, str]) -> Detected:
    return Detected(
        "labels read as whole numbers", f"all labels are such, {len(changed)} of them spelled like {_listed(changed)}"
    )


def _say_lookalikes(names: Collection[str]) -> tuple[Detected, ...]:
    groups = defaultdict(list)
    for name in names:
        if _INTEGER.fullmatch(name):
            groups[integer_of(name)].append(name)
    alike = sorted(sorted(group) for group in groups.values() if len(group) > 1)
    if not alike:
        return ()
    because = f"not all labels are plain numbers, so {_listed(alike[0])} may be names; write them alike if they are one"
    return (Detected(f"different labels of one value: {_listed(alike[0])}", because),)


def name_some(labels: Sequence[str]) -> str:
    """Return the first few labels in quotes, as a message names them."""
    shown = ", ".join(repr(label[:40]) for label in labels[:_SHOWN])
    return shown + (", …" if len(labels) > _SHOWN else "")


def _listed(names: Collection[str]) -> str:
    return name_some(sorted(names))
