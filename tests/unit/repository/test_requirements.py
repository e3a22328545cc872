"""requirements.txt is complete, exact and within the ranges of pyproject.toml."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

# What PyTorch's CUDA wheels bring along; they differ by platform and are left to pip.
LEFT_TO_PIP = re.compile(r"^(nvidia-|cuda-|triton$)")


@pytest.fixture(scope="module")
def pins(repository: Path) -> dict[str, str]:
    lines = (repository / "requirements.txt").read_text().splitlines()
    return dict(line.split("==") for line in lines if line and not line.startswith("#"))


@pytest.fixture(scope="module")
def declared(repository: Path) -> list[Requirement]:
    project = tomllib.loads((repository / "pyproject.toml").read_text())["project"]
    extras = [text for group in project["optional-dependencies"].values() for text in group]
    return [Requirement(text) for text in project["dependencies"] + extras if not text.startswith("finetune30[")]


def test_lines_are_exact_versions_without_addresses(repository: Path) -> None:
    lines = (repository / "requirements.txt").read_text().splitlines()
    exact = re.compile(r"[A-Za-z0-9._-]+==[0-9][A-Za-z0-9.]*")
    assert [line for line in lines if not line.startswith("#") and not exact.fullmatch(line)] == []


def test_pins_are_within_the_declared_ranges(pins: dict[str, str], declared: list[Requirement]) -> None:
    versions = {canonicalize_name(name): version for name, version in pins.items()}
    wrong = [str(r) for r in declared if not r.specifier.contains(versions.get(canonicalize_name(r.name), "0"))]
    assert wrong == []


def test_everything_that_is_needed_is_pinned(pins: dict[str, str], declared: list[Requirement]) -> None:
    pinned = {canonicalize_name(name) for name in pins}
    needed = {name for name in installed_closure(declared) if not LEFT_TO_PIP.match(name)}
    assert needed - pinned == set()


def installed_closure(requirements: list[Requirement]) -> set[str]:
    """Names of the requirements and of all that they need, as the installed packages declare it for this machine."""
    waiting, seen = list(requirements), set()
    while waiting:
        requirement = waiting.pop()
        name, extras = canonicalize_name(requirement.name), frozenset(requirement.extras)
        if (name, extras) in seen:
            continue
        seen.add((name, extras))
        for text in distribution(requirement.name).requires or []:
            child = Requirement(text)
            if child.marker is None or any(child.marker.evaluate({"extra": extra}) for extra in {"", *extras}):
                waiting.append(child)
    return {name for name, _ in seen}
