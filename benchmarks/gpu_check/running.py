"""One part in a process of its own, under a limit, and the line that is kept of it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.gpu_check.parts import Part

#: A part's line: part, state (ok, failed, not run), reason, seconds, findings.
Line = dict[str, Any]
ROOT = Path(__file__).parents[2]
#: cuBLAS reads its workspace before the first product; without the others, libraries would look for a network.
_ENVIRONMENT = {
    "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
    "HF_HUB_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "UNSLOTH_DISABLE_STATISTICS": "1",
}


def environment_with(*folders: Path) -> dict[str, str]:
    """Return the environment of a process that finds packages in `folders` and the product in this checkout."""
    paths = [*map(str, folders), str(ROOT / "src"), str(ROOT), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, **_ENVIRONMENT, "PYTHONPATH": os.pathsep.join(path for path in paths if path)}


def run_part(part: Part, device: str, output: Path, scratch: Path, sites: Path, seconds: float) -> Line:
    """Carry a part out and return its line; whatever happens to its process, what it found until then is kept."""
    told, log = output / f"{part.name}.jsonl", output / f"{part.name}.log"
    words = ["--device", device, "--out", str(output), "--scratch", str(scratch), "--sites", str(sites)]
    started = time.monotonic()
    with told.open("wb") as answers, log.open("wb") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.gpu_check", "--be", part.name, *words],
            cwd=ROOT,
            env=environment_with(sites / "own", sites / "triton"),
            stdin=subprocess.DEVNULL,
            stdout=answers,
            stderr=errors,
            start_new_session=True,
        )
        try:
            code: int | None = process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            _end_group(process)
    # The last line of a process that was killed may be half of one.
    whole = [line for line in told.read_text(encoding="utf-8").splitlines(keepends=True) if line.endswith("\n")]
    lines = [json.loads(line) for line in whole]
    told.unlink()
    return {"part": part.name, **_judge(lines, code, log, seconds), "seconds": round(time.monotonic() - started, 1)}


def _judge(lines: list[dict[str, Any]], code: int | None, log: Path, seconds: float) -> Line:
    findings = [line for line in lines if "what" in line]
    reasons = [line["not_run"] for line in lines if "not_run" in line]
    if code is None:
        return {"state": "failed", "reason": f"took longer than {seconds:.0f} s", "findings": findings}
    if code != 0:
        last = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1:]
        return {"state": "failed", "reason": "".join(last) or f"exit code {code}", "findings": findings}
    if reasons:
        return {"state": "not run", "reason": reasons[0], "findings": findings}
    wrong = [finding["what"] for finding in findings if finding["ok"] is False]
    return {"state": "failed" if wrong else "ok", "reason": "; ".join(wrong), "findings": findings}


def _end_group(process: subprocess.Popen[bytes]) -> None:
    """End what a part may have left running; it would hold the GPU's memory."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
