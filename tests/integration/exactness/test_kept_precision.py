"""`precision: auto` is what it was when the run began, also on a processor that would choose another one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest

from finetune30.modeling.devices import cpu_gains_by_bf16
from support.exactness import fingerprint

pytestmark = pytest.mark.integration

#: `ft30` on a processor for which the other number format is the faster one.
ELSEWHERE = """
from finetune30.modeling import devices
gains = devices.cpu_gains_by_bf16()
devices.cpu_gains_by_bf16 = lambda: not gains
from finetune30.cli.main import main
main()
"""


def test_a_run_goes_on_and_is_repeated_in_the_precision_that_it_began_with(make_lab):
    there = "fp32" if cpu_gains_by_bf16() else "bf16"
    lab = make_lab({"training.precision": "auto"})
    named = lab.ft30("train", "--config", "config.yaml", "--set", f"training.precision={there}", results="named")
    assert named.returncode == 0, named.stderr
    begun = subprocess.run(
        [sys.executable, "-c", ELSEWHERE, "train", "--config", "config.yaml"],
        cwd=lab.folder,
        env={**os.environ, "FT30_RESULTS_FOLDER": "results", "FT30_FAILPOINT": "training.after_step:7"},
        check=False,
    )
    assert begun.returncode == -signal.SIGKILL

    resumed = lab.ft30("resume", "latest")
    assert resumed.returncode == 0, resumed.stderr
    assert f"precision {there}" in resumed.stderr
    assert fingerprint(lab.run_folder("results"))["tensors"] == fingerprint(lab.run_folder("named"))["tensors"]

    replayed = lab.ft30("replay", "latest", "--json")
    assert replayed.returncode == 0, replayed.stdout + replayed.stderr
    report = json.loads(replayed.stdout)
    assert (report["identical"], report["environment"]) == (True, [])
