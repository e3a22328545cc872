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
CAPABILITIES = (80, 90)
COMPILE = """
import json, sys
import triton
import triton.language as tl
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from finetune30.training.gpu_kernels import cross_entropy, rms_norm, rotary, swiglu

NUMBERS = {"numbers", "size", "count", "half", "vocabulary"}
KERNELS = {
    "norm": (rms_norm._forward, {"block": 4096}),
    "norm, back": (rms_norm._backward, {"block": 4096}),
    "gate": (swiglu._forward, {"block": 1024}),
    "gate, back": (swiglu._backward, {"block": 1024}),
    "rotary": (rotary._turn_token, {"block_heads": 32, "block_half": 64, "backward": False}),
    "rotary, back": (rotary._turn_token, {"block_heads": 32, "block_half": 64, "backward": True}),
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
    for number in ("bf16", "fp32"):
        for capability in map(int, sys.argv[1:]):
            values = {**constants, "wide": tl.float32}
            signature = {n: "constexpr" if n in values else kind_of(n, number) for n in kernel.arg_names}
            source = ASTSource(kernel, signature, constexprs={(kernel.arg_names.index(n),): v for n, v in values.items()})
            made = triton.compile(source, target=GPUTarget("cuda", capability, 32), options={"num_warps": 8})
            found[f"{name}, {number}, {capability}"] = [len(made.asm["cubin"]), "atom" in made.asm["ptx"]]
print(json.dumps(found))
"""


def test_every_kernel_becomes_machine_code_without_atomic_operations(tmp_path: object) -> None:
    environment = {**os.environ, "TRITON_CACHE_DIR": str(tmp_path)}
    del environment["TRITON_INTERPRET"]
    words = [sys.executable, "-c", COMPILE, *map(str, CAPABILITIES)]
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=environment, timeout=600)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert len(found) == 8 * 2 * len(CAPABILITIES)
    for name, (size, has_atomics) in found.items():
        assert size > 1000, name
        assert not has_atomics, f"{name}: sums would come out in another order every time"
