"""What the machine has left, and what `nvidia-smi` says of GPUs: recorded lines, for no GPU is here."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from finetune30.service.runs import machine
from finetune30.service.runs.machine import Processors, parse_gpus, read_disk, read_gpus, read_memory

MIB = 2**20
#: `nvidia-smi --query-gpu=… --format=csv,noheader,nounits` as drivers print it.
TWO_CARDS = "0, NVIDIA A100-SXM4-80GB, 97, 61203, 81920, 64\n1, NVIDIA A100-SXM4-80GB, 0, 4, 81920, 31\n"
#: A partitioned card tells no use, an integrated one no memory of its own.
SILENT_CARDS = "0, NVIDIA H100 80GB HBM3, [N/A], 1, 81559, 30\n1, NVIDIA GB10, 12, [Not Supported], [N/A], [N/A]\n"


def test_lines_of_the_driver_become_figures() -> None:
    first, second = parse_gpus(TWO_CARDS)
    assert first == {
        "index": 0,
        "name": "NVIDIA A100-SXM4-80GB",
        "percent": 97,
        "memory_used_bytes": 61203 * MIB,
        "memory_total_bytes": 81920 * MIB,
        "temperature_celsius": 64,
    }
    assert (second["index"], second["percent"], second["temperature_celsius"]) == (1, 0, 31)


def test_what_a_card_does_not_tell_is_nothing() -> None:
    partitioned, integrated = parse_gpus(SILENT_CARDS)
    assert (partitioned["percent"], partitioned["memory_used_bytes"]) == (None, MIB)
    assert (integrated["percent"], integrated["memory_used_bytes"], integrated["temperature_celsius"]) == (
        12,
        None,
        None,
    )


@pytest.mark.parametrize("text", ["", "No devices were found\n", "Failed to initialize NVML: mismatch\n"])
def test_words_instead_of_lines_are_no_cards(text: str) -> None:
    assert parse_gpus(text) == []


@pytest.mark.parametrize(
    ("script", "found"),
    [
        (f"printf '%s' '{TWO_CARDS}'", 2),
        ("echo 'NVIDIA-SMI has failed' >&2; exit 9", None),
        ("exec sleep 60", None),
    ],
)
def test_the_program_is_asked_and_may_fail_or_hang(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, found: int | None
) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr(machine, "GPU_SECONDS", 2.0)
    gpus = read_gpus()
    assert (None if gpus is None else len(gpus)) == found


def test_without_a_driver_there_are_no_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert read_gpus() is None


def test_processors_compare_two_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    class Times(SimpleNamespace):
        def __iter__(self):
            return iter(vars(self).values())

    looks = iter([Times(user=10.0, idle=100.0, iowait=0.0), Times(user=13.0, idle=100.5, iowait=0.5)])
    monkeypatch.setattr(psutil, "cpu_times", lambda: next(looks))
    processors = Processors()
    assert processors.read()["percent"] is None
    assert processors.read()["percent"] == 75.0  # 3 of 4 seconds were work


def test_memory_and_disk_are_those_of_the_system(tmp_path: Path) -> None:
    memory = read_memory()
    assert 0 < memory["used_bytes"] < memory["total_bytes"]
    disk = read_disk(tmp_path / "not" / "there" / "yet")
    assert disk == read_disk(tmp_path) or abs(disk["free_bytes"] - read_disk(tmp_path)["free_bytes"]) < 10**9
    assert 0 <= disk["free_bytes"] <= disk["total_bytes"]
