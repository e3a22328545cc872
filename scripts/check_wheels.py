"""Say which locked packages have no wheel for a platform that we name: nobody who installs should need a compiler.

Every line of the locked sets is looked up in the registry that pip uses, for every platform and Python below, with the
line's marker read for that platform. Only the registry's lists of files are fetched, no package: pip's own
`--dry-run --platform …` downloads whole wheels from registries without separate metadata, and PyTorch's are large.
What pip takes from local files (find-links, file: indexes) does not count, since other machines do not have it.
Without a registry in reach nothing is checked, which is said and no fault.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path

import click
import requests
from packaging.requirements import Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.tags import Tag, compatible_tags, cpython_tags, mac_platforms
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename

ROOT = Path(__file__).resolve().parents[1]
#: In the order in which they add to each other.
LOCKED_SETS = ("requirements.txt", "requirements-services.txt", "requirements-dev.txt")
#: The oldest systems that PyTorch's own wheels run on.
OLDEST_GLIBC, OLDEST_MACOS = (2, 28), (14, 0)
REQUESTS_AT_A_TIME = 16
ANSWER_SECONDS = 20
_JSON = "application/vnd.pypi.simple.v1+json"


@dataclass(frozen=True)
class Target:
    """A platform and a Python for which every package must have a wheel."""

    system: str
    machine: str
    python: tuple[int, int]

    def __str__(self) -> str:
        """Return it as a line names it: Linux-x86_64-3.12."""
        return f"{self.system}-{self.machine}-{self.version}"

    @property
    def platform_name(self) -> str:
        """Return the platform as people name it."""
        return f"{'macOS' if self.system == 'Darwin' else self.system} {self.machine}"

    @property
    def version(self) -> str:
        """Return the Python: 3.12."""
        return ".".join(map(str, self.python))

    @property
    def environment(self) -> dict[str, str]:
        """Return what markers ask for, as that platform's pip would answer; its Python is the newest of its line."""
        return {
            "implementation_name": "cpython",
            "implementation_version": f"{self.version}.99",
            "os_name": "posix",
            "platform_machine": self.machine,
            "platform_python_implementation": "CPython",
            "platform_release": "",
            "platform_system": self.system,
            "platform_version": "",
            "python_full_version": f"{self.version}.99",
            "python_version": self.version,
            "sys_platform": self.system.lower(),
        }

    def tags(self) -> frozenset[Tag]:
        """Return the tags of the wheels that fit."""
        platforms = list(self._platforms())
        interpreter = f"cp{self.python[0]}{self.python[1]}"
        return frozenset(
            [*cpython_tags(self.python, platforms=platforms), *compatible_tags(self.python, interpreter, platforms)]
        )

    def _platforms(self) -> Iterator[str]:
        if self.system == "Darwin":
            yield from mac_platforms(OLDEST_MACOS, self.machine)
            return
        for minor in range(OLDEST_GLIBC[1], 4, -1):
            yield f"manylinux_2_{minor}_{self.machine}"
            yield from (f"{old}_{self.machine}" for old, its in _OLD_NAMES.items() if its == minor)
        yield f"linux_{self.machine}"


_OLD_NAMES = {"manylinux2014": 17, "manylinux2010": 12, "manylinux1": 5}
TARGETS = [
    *(Target("Linux", "x86_64", (3, minor)) for minor in (11, 12, 13, 14)),
    *(Target("Linux", "aarch64", (3, minor)) for minor in (12, 13, 14)),
    *(Target("Darwin", "arm64", (3, minor)) for minor in (12, 13, 14)),
]


@dataclass(frozen=True)
class File:
    """A file that the registry offers."""

    name: str
    requires_python: str | None


class _Links(HTMLParser):
    """The files of a registry's page that is no JSON."""

    def __init__(self) -> None:
        super().__init__()
        self.files: list[File] = []
        self._requires: str | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Remember what the link says about Python."""
        if tag == "a":
            self._requires = dict(attrs).get("data-requires-python")

    def handle_data(self, data: str) -> None:
        """Take the text of a link for a file's name."""
        if data.strip().endswith((".whl", ".tar.gz", ".zip")):
            self.files.append(File(data.strip(), self._requires))


class Registry:
    """The registries that pip asks on this machine, apart from local files."""

    def __init__(self, settings: dict[str, str]) -> None:
        urls = [settings.get("index-url") or _default_index(), *settings.get("extra-index-url", "").split()]
        self.urls = [url.rstrip("/") for url in urls if not url.startswith("file:")]
        self._session = requests.Session()
        if cert := settings.get("cert"):
            self._session.verify = cert
        if proxy := settings.get("proxy"):
            self._session.proxies = {"http": proxy, "https": proxy}

    def list_files(self, name: str) -> list[File]:
        """Return all files of a package, none where no registry knows it. Raises requests.RequestException."""
        return [file for url in self.urls for file in self._list_files_at(url, name)]

    def _list_files_at(self, url: str, name: str) -> list[File]:
        answer = self._session.get(
            f"{url}/{canonicalize_name(name)}/",
            headers={"Accept": f"{_JSON}, text/html;q=0.1"},
            timeout=ANSWER_SECONDS,
        )
        if answer.status_code == 404:
            return []
        answer.raise_for_status()
        if "json" in answer.headers.get("Content-Type", ""):
            found = answer.json()["files"]
            return [File(file["filename"], file.get("requires-python")) for file in found]
        links = _Links()
        links.feed(answer.text)
        return links.files


def read_pip_settings() -> dict[str, str]:
    """Return pip's settings on this machine, those of its files and of its environment, by their short names."""
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=False
    ).stdout
    found = re.findall(r"^(?:global|install|:env:)\.\.?([\w-]+)='(.*)'$", listed, flags=re.MULTILINE)
    return {name: value.replace("\\n", " ") for name, value in found}


def _default_index() -> str:
    """Return the address that pip has built in, which stands in its own help."""
    shown = subprocess.run(
        [sys.executable, "-m", "pip", "install", "--help"],
        capture_output=True, text=True, check=True, env={**os.environ, "COLUMNS": "200"},
    ).stdout  # fmt: skip
    found = re.search(r"\(default\s+(https://\S+?)\)", shown)
    if found is None:
        raise requests.ConnectionError("pip names no registry")
    return found[1]


def read_locked(files: list[Path]) -> list[Requirement]:
    """Return the lines of the locked sets."""
    lines = [line.strip() for file in files for line in file.read_text(encoding="utf-8").splitlines()]
    return [Requirement(line) for line in lines if line and not line.startswith("#")]


def find_lacking(locked: Requirement, files: list[File], targets: dict[Target, frozenset[Tag]]) -> list[Target]:
    """Return the targets to which the line applies and for which no file of that version is a fitting wheel."""
    wheels = list(_wheels_of(locked, files))
    lacking = []
    for target, tags in targets.items():
        if locked.marker is not None and not locked.marker.evaluate(target.environment):
            continue
        if not any(tags & wheel and _accepts(requires, target) for wheel, requires in wheels):
            lacking.append(target)
    return lacking


def _wheels_of(locked: Requirement, files: list[File]) -> Iterator[tuple[frozenset[Tag], str | None]]:
    for file in files:
        if file.name.endswith(".whl"):
            try:
                _, version, _, tags = parse_wheel_filename(file.name)
            except InvalidWheelFilename:
                continue
            if locked.specifier.contains(version, prereleases=True):
                yield tags, file.requires_python


def _accepts(requires_python: str | None, target: Target) -> bool:
    try:
        return SpecifierSet(requires_python or "").contains(f"{target.version}.99")
    except InvalidSpecifier:
        return True  # as pip does


def describe(lacking: dict[str, list[Target]]) -> list[str]:
    """Return a line for each package, with its platforms and their Pythons."""
    lines = []
    for name, targets in lacking.items():
        pythons: dict[str, list[str]] = {}
        for target in targets:
            pythons.setdefault(target.platform_name, []).append(target.version)
        places = "; ".join(f"{platform}: {', '.join(versions)}" for platform, versions in pythons.items())
        lines.append(f"{name} has no wheel for {places}")
    return lines


def main() -> int:
    """Check all; exit code 1 when a wheel is missing."""
    locked = read_locked([ROOT / name for name in LOCKED_SETS])
    targets = {target: target.tags() for target in TARGETS}
    try:
        registry = Registry(read_pip_settings())
        with ThreadPoolExecutor(REQUESTS_AT_A_TIME) as threads:
            files = list(threads.map(registry.list_files, [line.name for line in locked]))
    except requests.RequestException as error:
        click.echo(f"wheels: not checked, no package registry is in reach ({type(error).__name__})")
        return 0
    found = {str(line): find_lacking(line, offered, targets) for line, offered in zip(locked, files, strict=True)}
    lacking = {name: where for name, where in found.items() if where}
    if not lacking:
        click.echo(f"wheels: all {len(locked)} locked packages have one on {len(targets)} platforms and Pythons")
        return 0
    click.echo("\n  ".join(["wheels:", *describe(lacking)]))
    click.echo(
        "Each of them would be compiled there, or fail. Lock a version that has wheels, take another package, or give "
        "the requirement in pyproject.toml a marker that leaves the platform out, then: make lock"
    )
    return 1


if __name__ == "__main__":
    sys.exit(main())
