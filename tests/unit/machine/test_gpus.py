"""The GPUs of a machine: what the driver lists, and what CUDA_VISIBLE_DEVICES leaves of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from finetune30.machine import gpus
from finetune30.machine.gpus import Gpu, find_gpus, parse_gpu_list

SLOW, FAST, DIVIDED = "GPU-0a0a0a0a-0000-0000-0000-000000000000", "GPU-1b1b1b1b-1111-1111-1111-111111111111", "GPU-2c"
PARTS = ("MIG-aaaaaaaa-0000-0000-0000-000000000000", "MIG-bbbbbbbb-0000-0000-0000-000000000000")
LISTED = f"""GPU 0: NVIDIA GeForce GTX 1050 (UUID: {SLOW})
GPU 1: NVIDIA H100 80GB HBM3 (UUID: {FAST})
GPU 2: NVIDIA A100-SXM4-40GB (UUID: {DIVIDED})
  MIG 3g.20gb     Device  0: (UUID: {PARTS[0]})
  MIG 3g.20gb     Device  1: (UUID: {PARTS[1]})
Unable to determine the device handle for gpu 0000:C1:00.0: Unknown Error
"""


def install_driver(folder: Path, monkeypatch: pytest.MonkeyPatch, listed: str, code: int = 0) -> None:
    """Put an `nvidia-smi` on the PATH that lists this and ends so."""
    program = folder / "nvidia-smi"
    program.write_text(f"#!/bin/sh\ncat <<'LIST'\n{listed}LIST\nexit {code}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=":")


def test_what_the_driver_lists_is_read_with_the_instances_of_divided_gpus() -> None:
    assert parse_gpu_list(LISTED) == [
        Gpu("NVIDIA GeForce GTX 1050", SLOW),
        Gpu("NVIDIA H100 80GB HBM3", FAST),
        Gpu("NVIDIA A100-SXM4-40GB", DIVIDED, PARTS),
    ]
    assert parse_gpu_list("No devices were found\n") == []


def test_one_broken_gpu_does_not_hide_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install_driver(tmp_path, monkeypatch, LISTED, code=9)
    assert find_gpus({}) == [SLOW, FAST, *PARTS]


@pytest.mark.parametrize(
    ("variables", "found"),
    [
        ({"CUDA_VISIBLE_DEVICES": ""}, []),
        ({"CUDA_VISIBLE_DEVICES": "NoDevFiles"}, []),
        ({"CUDA_VISIBLE_DEVICES": "all"}, []),
        # CUDA reads up to the first entry that names nothing.
        ({"CUDA_VISIBLE_DEVICES": f"{FAST},-1,{SLOW}"}, [FAST]),
        ({"CUDA_VISIBLE_DEVICES": f"{FAST}, {FAST}"}, [FAST]),
        ({"CUDA_VISIBLE_DEVICES": "GPU-1b1b"}, [FAST]),
        ({"CUDA_VISIBLE_DEVICES": "GPU-ffff"}, []),
        ({"CUDA_VISIBLE_DEVICES": PARTS[1]}, [PARTS[1]]),
        # The driver's numbers are CUDA's only where it is told so: CUDA counts the fastest first.
        ({"CUDA_VISIBLE_DEVICES": "1,0", "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}, [FAST, SLOW]),
        ({"CUDA_VISIBLE_DEVICES": "2,7,0", "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}, [PARTS[0]]),
        ({"CUDA_VISIBLE_DEVICES": "0,1"}, ["0", "1"]),
    ],
)
def test_the_variable_leaves_what_cuda_would_see(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], found: list[str]
) -> None:
    install_driver(tmp_path, monkeypatch, LISTED)
    assert find_gpus(variables) == found


def test_gpus_of_one_model_are_known_by_their_numbers_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install_driver(tmp_path, monkeypatch, "".join(f"GPU {n}: NVIDIA H200 (UUID: GPU-0{n})\n" for n in range(3)))
    assert find_gpus({"CUDA_VISIBLE_DEVICES": "2,0"}) == ["GPU-02", "GPU-00"]


def test_the_driver_is_read_where_its_program_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for place, uuid in (("0000:41:00.0", SLOW), ("0000:01:00.0", FAST)):
        (tmp_path / place).mkdir()
        (tmp_path / place / "information").write_text(f"Model: \t\t NVIDIA H100\nIRQ:   \t\t 1\nGPU UUID: \t {uuid}\n")
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(gpus, "_DRIVER_FOLDER", tmp_path)
    assert find_gpus({}) == [FAST, SLOW]
    monkeypatch.setattr(gpus, "_DRIVER_FOLDER", tmp_path / "nothing")
    assert find_gpus({}) == []
    assert find_gpus({"CUDA_VISIBLE_DEVICES": "0"}) == ["0"], "CUDA may know what nothing here shows"
