"""The kernels are translated for real GPUs, down to machine code, which needs Triton but no GPU."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None,
    reason="Triton is not installed: kernels for GPUs cannot be compiled (make test-gpu-kernels)",
)
#: Ampere and Hopper; bfloat16 begins with the first one.
WAYS = ("bf16 80", "fp32 80", "bf16 90")
COMPILE = """
import json, sys
import triton
import triton.language as tl
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from finetune30.training.gpu_kernels import cross_entropy, rms_norm, rotary, swiglu

SIDE_BY_SIDE = dict.fromkeys(("from_number", "to_number", "cos_number", "sin_number"), 1)
NUMBERS = {"numbers", "size", "count", "half", "vocabulary"}
KERNELS = {
    "norm": (rms_norm._forward, {"block": 4096}),
    "norm, back": (rms_norm._backward, {"block": 4096}),
    "gate": (swiglu._forward, {"block": 1024}),
    "gate, back": (swiglu._backward, {"block": 1024}),
    "rotary": (rotary._turn_token, {"block_heads": 32, "block_half": 64, "backward": False, **SIDE_BY_SIDE}),
    "rotary, back": (rotary._turn_token, {"block_heads": 32, "block_half": 64, "backward": True, **SIDE_BY_SIDE}),
    "losses": (cross_entropy._measure, {"block": 4096, "keeps_gradient": False}),
    "losses, gradient": (cross_entropy._measure, {"block": 4096, "keeps_gradient": True}),
}

def kind_of(name, number):
    if name in NUMBERS or name.split("_")[0] in {"from", "to"} or "_" in name and name[:3] in {"cos", "sin"}:
        return "i32"
    if name in {"epsilon", "factor"}:
        return "fp32"
    return {"wanted": "*i64", "factors": "*fp32", "losses": "*fp32", "right": "*fp32"}.get(name, "*" + number)

found = {}
for name, (kernel, constants) in KERNELS.items():
    for number, capability in map(str.split, sys.argv[1:]):
        values = {**constants, "wide": tl.float32}
        signature = {n: "constexpr" if n in values else kind_of(n, number) for n in kernel.arg_names}
        constants_at = {(kernel.arg_names.index(n),): value for n, value in values.items()}
        source = ASTSource(kernel, signature, constexprs=constants_at)
        made = triton.compile(source, target=GPUTarget("cuda", int(capability), 32), options={"num_warps": 8})
        found[f"{name}, {number}, {capability}"] = [len(made.asm["cubin"]), "atom" in made.asm["ptx"]]
print(json.dumps(found))
"""


def test_every_kernel_becomes_machine_code_without_atomic_operations(tmp_path: object) -> None:
    environment = {**os.environ, "TRITON_CACHE_DIR": str(tmp_path)}
    del environment["TRITON_INTERPRET"]
    words = [sys.executable, "-c", COMPILE, *WAYS]
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=environment, timeout=600)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert len(found) == 8 * len(WAYS)
    for name, (size, has_atomics) in found.items():
        assert size > 1000, name
        assert not has_atomics, f"{name}: sums would come out in another order every time"
