"""Read `pip freeze` from stdin and write the three locked sets; each package stands in the smallest set that needs it.

    requirements.txt           running: training, data, the records, the API, the page, the starter model
    requirements-services.txt  what services add: a Redis to bring up, the driver of PostgreSQL
    requirements-dev.txt       what checks and tests add

All three come from one resolution, and a larger set only adds to a smaller one. To be run by the Python whose packages
were frozen: what needs what is read from their metadata.
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Iterable
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import NormalizedName, canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
FILES = {
    "requirements.txt": "what running needs, with the page and the starter model",
    "requirements-services.txt": "what services add to requirements.txt: Redis, the driver of PostgreSQL",
    "requirements-dev.txt": "what checks and tests add to both",
}
RUNNING_EXTRAS, SERVICES_EXTRAS = ("starter", "ui"), ("services", "postgres")
#: What PyTorch's CUDA build brings along: it differs by platform and is left to pip.
LEFT_TO_PIP = re.compile(r"^(nvidia-|cuda-|triton$)")
#: Installers need them everywhere, whatever declares it.
ALWAYS_RUNNING = {canonicalize_name("setuptools")}


def read_pins(lines: list[str]) -> dict[NormalizedName, str]:
    """Return the lines of a freeze by name, without local version labels (+cpu, +cu130) and what is left to pip."""
    pins = {}
    for line in lines:
        pin = re.sub(r"\+[a-z0-9.]+$", "", line.strip())
        name = canonicalize_name(pin.partition("==")[0])
        if "==" in pin and not LEFT_TO_PIP.match(name):
            pins[name] = pin
    return pins


def find_needed(requirements: list[Requirement]) -> set[NormalizedName]:
    """Return the names of the requirements and of all that they need, as installed packages declare it."""
    waiting, seen = list(requirements), set()
    while waiting:
        requirement = waiting.pop()
        key = (canonicalize_name(requirement.name), frozenset(requirement.extras))
        if key in seen:
            continue
        seen.add(key)
        for text in distribution(requirement.name).requires or []:
            child = Requirement(text)
            if child.marker is None or any(child.marker.evaluate({"extra": extra}) for extra in {"", *key[1]}):
                waiting.append(child)
    return {name for name, _ in seen}


def split(pins: dict[NormalizedName, str], project: dict[str, Any]) -> list[list[str]]:
    """Return the lines of the three files."""
    extras = project["optional-dependencies"]
    running = [*project["dependencies"], *(text for name in RUNNING_EXTRAS for text in extras[name])]
    services = [text for name in SERVICES_EXTRAS for text in extras[name]]
    running_names = find_needed([Requirement(text) for text in running]) | ALWAYS_RUNNING
    services_names = find_needed([Requirement(text) for text in services]) - running_names
    others = set(pins) - running_names - services_names
    pins = pins | add_markers(pins, [Requirement(text) for text in [*running, *services, *extras["dev"]]])
    return [sort(pins[name] for name in names & set(pins)) for names in (running_names, services_names, others)]


def add_markers(pins: dict[NormalizedName, str], declared: list[Requirement]) -> dict[NormalizedName, str]:
    """Return the pins that the package wants on some platforms only, with its marker: pip freeze does not know it."""
    marked = {canonicalize_name(one.name): one.marker for one in declared if one.marker is not None}
    return {name: f"{pins[name]} ; {marker}" for name, marker in marked.items() if name in pins}


def sort(lines: Iterable[str]) -> list[str]:
    """Return the lines in the order of their names."""
    return sorted(lines, key=lambda line: line.partition("==")[0].lower())


def main() -> None:
    """Write the files."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    sets = split(read_pins(sys.stdin.readlines()), project)
    for (name, what), lines in zip(FILES.items(), sets, strict=True):
        head = f"# Exact versions: {what}; written by: make lock"
        unfinished = ROOT / f"{name}.new"
        unfinished.write_text("\n".join([head, *lines]) + "\n", encoding="utf-8")
        unfinished.replace(ROOT / name)


if __name__ == "__main__":
    main()
