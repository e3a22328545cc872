"""scripts/setup_conda.sh with stand-ins for conda, nvidia-smi and uname on PATH: Conda itself is not needed here."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.integration

INSTALL = 'sh scripts/install_environment.sh "$CONDA_PREFIX" services again'

# Records every call; `env list` prints the environments that the test wants.
CONDA = """#!/bin/sh
echo "$(basename "$0") $*" >> "$CALLS"
if [ "$1 $2" = "env list" ]; then
    printf 'base   conda\\n%s\\n' "$EXISTING"
fi
"""


class Machine:
    """A PATH of its own: the usual tools of a Unix machine plus the stand-ins that a test installs."""

    def __init__(self, folder: Path, repository: Path) -> None:
        self.bin = folder / "bin"
        self.bin.mkdir()
        self.calls_file = folder / "calls"
        self.calls_file.touch()
        self.repository = repository
        for tool in ("sh", "dirname", "basename", "grep", "cat", "echo", "printf"):
            real = next(p / tool for p in map(Path, ("/bin", "/usr/bin")) if (p / tool).exists())
            (self.bin / tool).symlink_to(real)
        self.install("uname", "#!/bin/sh\ncase $1 in -s) echo Linux;; -m) echo x86_64;; esac\n")

    def install(self, name: str, script: str = CONDA) -> None:
        path = self.bin / name
        path.write_text(script)
        path.chmod(0o755)

    def setup_conda(self, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["sh", str(self.repository / "scripts" / "setup_conda.sh")],
            env={"PATH": str(self.bin), "CALLS": str(self.calls_file), "EXISTING": "", **environment},
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )

    def calls(self) -> list[str]:
        return self.calls_file.read_text().splitlines()


@pytest.fixture
def machine(tmp_path: Path, repository: Path) -> Machine:
    return Machine(tmp_path, repository)


def test_environment_is_lora_cuda_where_nvidia_smi_answers(machine: Machine) -> None:
    machine.install("conda")
    machine.install("nvidia-smi", "#!/bin/sh\necho 'GPU 0: NVIDIA L4 (UUID: GPU-1)'\n")
    done = machine.setup_conda()
    assert done.returncode == 0, done.stderr
    assert "conda env create --name lora-cuda --file environment.yml" in machine.calls()
    assert "conda activate lora-cuda && make run-local" in done.stdout


def test_environment_is_lora_cpu_where_nvidia_smi_finds_no_driver(machine: Machine) -> None:
    machine.install("conda")
    machine.install("nvidia-smi", "#!/bin/sh\necho 'no driver' >&2\nexit 9\n")
    assert machine.setup_conda().returncode == 0
    assert "conda env create --name lora-cpu --file environment.yml" in machine.calls()


def test_environment_is_lora_cpu_where_nvidia_smi_lists_no_gpu(machine: Machine) -> None:
    machine.install("conda")
    machine.install("nvidia-smi", "#!/bin/sh\necho 'No devices found.'\n")
    assert machine.setup_conda().returncode == 0
    assert "conda env create --name lora-cpu --file environment.yml" in machine.calls()


def test_environment_is_lora_m3_on_apple_silicon(machine: Machine) -> None:
    machine.install("conda")
    machine.install("uname", "#!/bin/sh\ncase $1 in -s) echo Darwin;; -m) echo arm64;; esac\n")
    assert machine.setup_conda().returncode == 0
    assert "conda env create --name lora-m3 --file environment.yml" in machine.calls()


def test_environment_that_exists_is_kept_and_brought_up_to_date(machine: Machine) -> None:
    machine.install("mamba")
    done = machine.setup_conda(EXISTING="lora-cpu   *   conda/envs/lora-cpu")
    assert done.returncode == 0, done.stderr
    assert machine.calls() == ["mamba env list", f"mamba run --name lora-cpu sh -c {INSTALL}"]


def test_environment_of_similar_name_is_not_taken_for_ours(machine: Machine) -> None:
    machine.install("conda")
    assert machine.setup_conda(EXISTING="my-lora-cpu   conda/envs/my-lora-cpu").returncode == 0
    assert "conda env create --name lora-cpu --file environment.yml" in machine.calls()


def test_micromamba_is_used_with_its_own_words(machine: Machine) -> None:
    machine.install("micromamba")
    assert machine.setup_conda().returncode == 0
    assert "micromamba create --yes --name lora-cpu --file environment.yml" in machine.calls()


def test_micromamba_is_found_when_it_is_only_a_shell_function(machine: Machine, tmp_path: Path) -> None:
    hidden = tmp_path / "micromamba"
    hidden.write_text(CONDA)
    hidden.chmod(0o755)
    assert machine.setup_conda(MAMBA_EXE=str(hidden)).returncode == 0
    assert "micromamba create --yes --name lora-cpu --file environment.yml" in machine.calls()


def test_package_is_installed_inside_the_environment(machine: Machine) -> None:
    machine.install("conda")
    machine.setup_conda()
    assert machine.calls()[-1] == f"conda run --name lora-cpu sh -c {INSTALL}"


def test_failing_conda_is_not_reported_as_ready(machine: Machine) -> None:
    machine.install("conda", CONDA + '[ "$2" = list ]\n')
    done = machine.setup_conda()
    assert done.returncode != 0
    assert "Ready" not in done.stdout


def test_no_conda_at_all_names_run_local(machine: Machine) -> None:
    done = machine.setup_conda()
    assert done.returncode == 1
    assert "Neither conda, mamba nor micromamba is installed." in done.stderr
    assert "make run-local" in done.stderr


def test_active_environment_of_ours_is_used_by_the_other_words(repository: Path, tmp_path: Path) -> None:
    prefix = tmp_path / "envs" / "lora-cpu"
    shown = make_print(repository, "db-list", CONDA_DEFAULT_ENV="lora-cpu", CONDA_PREFIX=str(prefix))
    assert f"{prefix}/bin/python -m finetune30 runs list" in shown
    assert f'install_environment.sh "{prefix}" running' in shown


def test_active_environment_of_the_user_is_left_alone(repository: Path, tmp_path: Path) -> None:
    shown = make_print(repository, "db-list", CONDA_DEFAULT_ENV="base", CONDA_PREFIX=str(tmp_path))
    assert ".venv/bin/python -m finetune30 runs list" in shown
    assert str(tmp_path) not in shown


def make_print(repository: Path, word: str, **environment: str) -> str:
    """What `make WORD` would run."""
    done = subprocess.run(
        ["make", "--dry-run", "-C", str(repository), word],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
        timeout=600,
    )
    return done.stdout
