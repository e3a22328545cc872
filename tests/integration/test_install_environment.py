"""scripts/install_environment.sh: when it works, when it has nothing to do, and what it says when it cannot.

pip is a recorder here: installing the real set takes minutes, and every `make` word of a fresh clone does that anyway.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.integration

# Stands for the Python of the new environment: `-m pip install …` is recorded, and fails when the test says so.
ENVIRONMENT_PYTHON = """#!/bin/sh
case "$*" in *"pip install"*) echo "$*" >> "$CALLS"; exit "${PIP_STATUS:-0}";; esac
"""
# Stands for the Python of the machine: recent enough or not, and able to make environments or not.
MACHINE_PYTHON = """#!/bin/sh
case "$*" in
*version_info*) exit "${TOO_OLD:-0}" ;;
--version) echo "Python ${VERSION:-3.12.1}" ;;
*"-m venv"*)
    [ "${NO_VENV:-0}" = 0 ] || { echo "ensurepip is not available" >&2; exit 1; }
    rm -rf "$4" && mkdir -p "$4/bin" && cp "$ENVIRONMENT_PYTHON" "$4/bin/python" ;;
esac
"""

KERNELS = "src/finetune30/training/packed/native"
#: What decides the installation, with some content.
INSTALLED_FROM = {
    "requirements.txt": "torch==1.0\n",
    "pyproject.toml": "[project]\n",
    "setup.py": "# nothing\n",
    f"{KERNELS}/kernels.cpp": "// nothing\n",
    f"{KERNELS}/vectors.h": "// nothing\n",
}


class Checkout:
    """A checkout with stand-in Pythons; `install` runs the script as the Makefile does."""

    def __init__(self, folder: Path, repository: Path) -> None:
        self.root = folder / "checkout"
        (self.root / "scripts").mkdir(parents=True)
        shutil.copy(repository / "scripts" / "install_environment.sh", self.root / "scripts")
        (self.root / KERNELS).mkdir(parents=True)
        for name, text in INSTALLED_FROM.items():
            (self.root / name).write_text(text)
        self.bin = folder / "bin"
        self.bin.mkdir()
        self.calls_file = folder / "calls"
        self.calls_file.touch()
        self.environment_python = self.script(folder / "environment-python", ENVIRONMENT_PYTHON)
        for name in ("python3", "python3.14", "python3.13", "python3.12", "python3.11"):
            self.script(self.bin / name, MACHINE_PYTHON)

    @staticmethod
    def script(path: Path, text: str) -> Path:
        path.write_text(text)
        path.chmod(0o755)
        return path

    def environment(self, **more: str) -> dict[str, str]:
        path = f"{self.bin}:/usr/bin:/bin"
        kept = {"PATH": path, "CALLS": str(self.calls_file), "ENVIRONMENT_PYTHON": str(self.environment_python)}
        return {"HOME": os.environ.get("HOME", "/"), **kept, **more}

    def start(self, **environment: str) -> subprocess.Popen[str]:
        command = ["sh", str(self.root / "scripts" / "install_environment.sh"), ".venv"]
        pipe = subprocess.PIPE
        return subprocess.Popen(command, env=self.environment(**environment), stdout=pipe, stderr=pipe, text=True)

    def install(self, **environment: str) -> tuple[int, str]:
        process = self.start(**environment)
        _, stderr = process.communicate(timeout=60)
        return process.returncode, stderr

    def calls(self) -> list[str]:
        return self.calls_file.read_text().splitlines()


@pytest.fixture
def checkout(tmp_path: Path, repository: Path) -> Checkout:
    return Checkout(tmp_path, repository)


def test_first_call_installs_requirements_and_then_the_package_alone(checkout: Checkout) -> None:
    status, stderr = checkout.install()
    assert status == 0, stderr
    requirements, package = checkout.calls()
    assert requirements.endswith("-r requirements.txt")
    assert package.endswith("--no-deps --no-build-isolation -e .")


def test_second_call_does_nothing(checkout: Checkout) -> None:
    checkout.install()
    status, stderr = checkout.install()
    assert (status, stderr) == (0, "")
    assert len(checkout.calls()) == 2


@pytest.mark.parametrize("changed", INSTALLED_FROM)
def test_changed_file_installs_again(checkout: Checkout, changed: str) -> None:
    checkout.install()
    with (checkout.root / changed).open("a") as file:
        file.write("# changed\n")
    checkout.install()
    assert len(checkout.calls()) == 4


def test_moved_checkout_installs_again(checkout: Checkout) -> None:
    checkout.install()
    checkout.root = checkout.root.rename(checkout.root.with_name("elsewhere"))
    checkout.install()
    assert len(checkout.calls()) == 4


def test_environment_whose_python_vanished_is_made_anew(checkout: Checkout) -> None:
    checkout.install()
    python = checkout.root / ".venv" / "bin" / "python"
    python.unlink()
    python.symlink_to("/nowhere/python3.12")
    status, stderr = checkout.install()
    assert status == 0, stderr
    assert len(checkout.calls()) == 4
    assert python.exists()


def test_failed_installation_is_tried_again(checkout: Checkout) -> None:
    status, stderr = checkout.install(PIP_STATUS="1")
    assert status == 1
    assert "run the same make word again" in stderr
    status, stderr = checkout.install()
    assert status == 0, stderr


def test_old_python_is_refused_with_the_version_needed(checkout: Checkout) -> None:
    status, stderr = checkout.install(TOO_OLD="1", VERSION="3.9.2")
    assert status == 1
    assert "needs Python 3.11 or newer; found: Python 3.9.2." in stderr
    assert not (checkout.root / ".venv").exists()


def test_newer_python_is_found_when_python3_is_old(checkout: Checkout) -> None:
    checkout.script(checkout.bin / "python3", MACHINE_PYTHON.replace("${TOO_OLD:-0}", "1"))
    status, stderr = checkout.install()
    assert status == 0, stderr


def test_named_python_is_used(checkout: Checkout, tmp_path: Path) -> None:
    chosen = checkout.script(tmp_path / "mine", MACHINE_PYTHON.replace("${VERSION:-3.12.1}", "3.13.5 (mine)"))
    status, stderr = checkout.install(PYTHON=str(chosen))
    assert status == 0, stderr
    assert "3.13.5 (mine)" in stderr


def test_missing_venv_module_names_the_package_to_install(checkout: Checkout) -> None:
    status, stderr = checkout.install(NO_VENV="1")
    assert status == 1
    assert "python3-venv" in stderr
    assert not (checkout.root / ".venv").exists()


def test_four_terminals_at_once_install_one_time(checkout: Checkout) -> None:
    processes = [checkout.start() for _ in range(4)]
    assert [process.wait(timeout=60) for process in processes] == [0, 0, 0, 0]
    for process in processes:
        process.communicate()
    assert len(checkout.calls()) == 2
    assert not (checkout.root / ".venv.lock").exists()


def test_lock_of_a_dead_process_is_taken_over(checkout: Checkout) -> None:
    finished = subprocess.Popen(["true"])
    finished.wait()
    lock = checkout.root / ".venv.lock"
    lock.mkdir()
    (lock / "pid").write_text(str(finished.pid))
    status, stderr = checkout.install()
    assert status == 0, stderr
