"""What has to be seen on a machine with a GPU: correctness, own speed, memory, and peers where these are importable.

    python -m benchmarks.gpu_check --device cuda --out FOLDER              # correctness and own speed, 400 s
    python -m benchmarks.gpu_check --device cuda --out FOLDER --peers      # beside other trainers, 330 s
    python -m benchmarks.gpu_check --device cuda --out FOLDER --only PART  # a part again; the lines of others stay

Every part is a process of its own with a limit in seconds. Its line goes to FOLDER/results.jsonl as soon as it has
ended, however it ended; its output stays in FOLDER/PART.log; the table is printed last, and in FOLDER/table.md. Exit
code 1: a part failed. With `--device cpu` all sizes are tiny: so the script itself is tested where there is no GPU.

Packages that the machine lacks are looked for in `--sites`: `own` for this project (pydantic), `triton` for its kernels
on a CPU, `trl`, `unsloth` for peers, each a folder made by `pip install --no-deps --target`.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.gpu_check import report
from benchmarks.gpu_check.findings import Context, Finding, NotRunError
from benchmarks.gpu_check.parts import PARTS, Part
from benchmarks.gpu_check.running import ROOT, Line, run_part

_CHECK_SECONDS, _PEERS_SECONDS = 400, 330
#: With less a process would not get past its imports.
_LEAST_SECONDS = 5.0


def main() -> int:
    """Carry out the parts that were asked for, or be one of them; return the exit code."""
    options = _build_parser().parse_args()
    output: Path = options.out.resolve()
    output.mkdir(parents=True, exist_ok=True)
    if options.be:
        _be(options.be, options.device, options.scratch, options.sites)
        return 0
    asked = [part for part in PARTS if part.compares_peers == options.peers]
    if options.only:
        asked = [part for part in PARTS if part.name in options.only]
    seconds = options.seconds or (_PEERS_SECONDS if options.peers else _CHECK_SECONDS)
    results = output / "results.jsonl"
    report.forget(results, [part.name for part in asked])
    done = []
    with tempfile.TemporaryDirectory(prefix="gpu-check-") as scratch:
        deadline = time.monotonic() + seconds
        for part in asked:
            line = _carry_out(part, options, output, Path(scratch), deadline, seconds)
            report.append(results, line)
            print(f"{line['part']}: {line['state']} {line['reason']}".rstrip(), file=sys.stderr, flush=True)
            done.append(line)
    table = report.build_table(report.read_lines(results))
    (output / "table.md").write_text(table, encoding="utf-8")
    print(table, end="")
    return 1 if any(line["state"] == "failed" for line in done) else 0


def _carry_out(
    part: Part, options: argparse.Namespace, output: Path, scratch: Path, deadline: float, seconds: float
) -> Line:
    left = deadline - time.monotonic()
    reason = None
    if part.compares_peers and not options.only and seconds < _PEERS_SECONDS:
        reason = f"peers take {_PEERS_SECONDS} s, and {seconds:g} s were given"
    elif left < _LEAST_SECONDS:
        reason = f"the {seconds:g} s of this call were spent"
    if reason is not None:
        return {"part": part.name, "state": "not run", "reason": reason, "findings": [], "seconds": 0.0}
    return run_part(part, options.device, output, scratch, options.sites.resolve(), min(part.seconds, left))


def _be(name: str, device: str, scratch: Path, sites: Path) -> None:
    """Carry a part out in this process; findings go to stdout, one JSON line each, everything else to stderr."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def tell(finding: Finding) -> None:
        print(json.dumps(finding.describe()), file=answers, flush=True)

    module, _, function = next(part.call for part in PARTS if part.name == name).partition(":")
    found = importlib.import_module(f"benchmarks.gpu_check.{module}")
    try:
        if device == "cuda" and name != PARTS[0].name:  # the first part fails where there is none
            _require_cuda()
        getattr(found, function)(Context(device, scratch, sites, tell))
    except NotRunError as error:
        print(json.dumps({"not_run": str(error)}), file=answers, flush=True)


def _require_cuda() -> None:
    import torch

    if not torch.cuda.is_available():
        raise NotRunError("PyTorch sees no CUDA device")


def _build_parser() -> argparse.ArgumentParser:
    words, _, rest = (__doc__ or "").partition("\n")
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu_check",
        description=words,
        epilog=rest,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    names = [part.name for part in PARTS]
    parser.add_argument("--out", type=Path, required=True, help="folder of results, made where it is missing")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--seconds", type=float, help=f"for all parts: {_CHECK_SECONDS}, for peers {_PEERS_SECONDS}")
    parser.add_argument("--only", nargs="+", choices=names, metavar="PART", help=f"one or more of {', '.join(names)}")
    parser.add_argument("--peers", action="store_true", help="the parts that stand beside other trainers")
    parser.add_argument("--sites", type=Path, default=ROOT / "build" / "gpu-sites", help="carried packages")
    parser.add_argument("--be", choices=names, help=argparse.SUPPRESS)
    parser.add_argument("--scratch", type=Path, help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
