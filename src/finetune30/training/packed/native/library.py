"""Finds the compiled kernels that suit this CPU."""

from __future__ import annotations

import ctypes
import logging
import re
from functools import cache
from pathlib import Path
from typing import Any

import torch

_LOG = logging.getLogger(__name__)

#: What about.cpp says of itself: kernels of another version of this package are not used.
_VERSION = 7
_FOLDER = Path(__file__).parent
#: GNU's runtime, or one that knows its functions too (LLVM, Intel).
_OPENMP = re.compile(r"lib(gomp|omp|iomp5)\b.*\.so")

#: Arguments as in the files beside this one, by the letters of `_TYPES`.
_SIGNATURES = {
    "forward_norm": "pppdppdpppll",
    "backward_norm": "pppdpppppll",
    "forward_gelu": "ppil",
    "forward_lora": "plppdppllll",
    "backward_lora": "plplppdppplll",
    "forward_attention": "plpplppppdppllll",
    "backward_attention": "plplpplppppdpppplll",
    "forward_causal_attention": "plplplpdppllll",
    "backward_causal_attention": "ppplplplpdpppplllll",
    "forward_kept_attention": "plplplppppppldpllll",
    "forward_rms_norm": "ppdppll",
    "backward_rms_norm": "pppppill",
    "turn": "plppdlll",
    "forward_gate": "ppll",
    "backward_gate": "pppll",
    "cross_entropy": "ppppill",
}
_PRODUCTS = {"lay_out": "ppllll", "take_out": "ppplll", "multiply": "pppplplll"}
_DRAW_MASK = "plllll"
_TYPES = {"p": ctypes.c_void_p, "l": ctypes.c_long, "d": ctypes.c_double, "i": ctypes.c_int}
_DTYPES = {torch.float32: "float32", torch.bfloat16: "bfloat16", torch.float64: "float64"}


class Kernels:
    """The kernels for activations of one data type, as functions that take addresses and numbers.

    Products with frozen weights are among them only where `has_products` is true.
    """

    def __init__(self, library: ctypes.CDLL, dtype: torch.dtype, instructions: str) -> None:
        self.instructions = instructions
        for name, signature in _SIGNATURES.items():
            self._declare(name, getattr(library, f"{name}_{_DTYPES[dtype]}"), signature)
        self._declare("draw_mask", library.draw_mask, _DRAW_MASK)
        self.has_products = _has_products(library, dtype)
        if self.has_products:
            for name, signature in _PRODUCTS.items():
                self._declare(name, getattr(library, f"{name}_{_DTYPES[dtype]}"), signature)

    def _declare(self, name: str, function: Any, signature: str) -> None:
        function.argtypes = [_TYPES[letter] for letter in signature]
        function.restype = None
        setattr(self, name, function)

    draw_mask: Any
    forward_norm: Any
    backward_norm: Any
    forward_gelu: Any
    forward_lora: Any
    backward_lora: Any
    forward_attention: Any
    backward_attention: Any
    forward_causal_attention: Any
    backward_causal_attention: Any
    forward_kept_attention: Any
    forward_rms_norm: Any
    backward_rms_norm: Any
    turn: Any
    forward_gate: Any
    backward_gate: Any
    cross_entropy: Any
    lay_out: Any
    take_out: Any
    multiply: Any


def find_kernels(dtype: torch.dtype) -> Kernels | None:
    """Return the kernels for activations of this type, or None where there are none."""
    found = _find_library()
    return Kernels(found[1], dtype, found[0]) if found is not None and dtype in _DTYPES else None


def describe_kernels() -> str:
    """Return what the results of the kernels found here depend on, instruction set and compiler, or "none"."""
    found = _find_library()
    if found is None:
        return "none"
    instructions, library = found
    library.kernels_compiler.restype = ctypes.c_char_p
    return f"{instructions}, compiler {library.kernels_compiler().decode()}"


def _has_products(library: ctypes.CDLL, dtype: torch.dtype) -> bool:
    # oneDNN multiplies bfloat16 in AMX tiles, which are far faster than the vectors that the kernels use.
    uses_tiles = dtype == torch.bfloat16 and torch.cpu._is_amx_tile_supported()
    return hasattr(library, f"multiply_{_DTYPES[dtype]}") and not uses_tiles


def _choose_variant() -> str:
    """Return the instruction set; on other architectures the kernels are compiled for every CPU there is."""
    capability = torch.backends.cpu.get_cpu_capability()
    if capability == "AVX512":
        return "avx512_bf16" if _multiplies_pairs() else "avx512"
    return "avx2" if capability == "AVX2" else "baseline"


def _multiplies_pairs() -> bool:
    """Tell whether AVX512-BF16 is worth its name: AMD's multiply twice as many numbers by it as in float32.

    On an Intel Xeon they were half as many: there weights are widened on their way to float32's multiplication, which
    is 1.7 times as fast (docs/decisions/compiled-kernels.md).
    """
    is_amd = str(torch.cpu.get_capabilities().get("cpu_name", "")).startswith("AMD")
    return torch.cpu._is_avx512_bf16_supported() and is_amd


@cache
def _find_library() -> tuple[str, ctypes.CDLL] | None:
    best = _choose_variant()
    path = _FOLDER / f"{best}.kernels"
    if not path.exists():
        return None
    try:
        _share_openmp()
        library = ctypes.CDLL(str(path))
    except OSError as error:
        _LOG.warning("the compiled kernels cannot be used, PyTorch's operators are: %s", error)
        return None
    if library.kernels_version() == _VERSION:
        return best, library
    _LOG.warning("the compiled kernels are of another version; PyTorch's operators are used. Next: make install")
    return None


def _share_openmp() -> None:
    """Let the kernels find the OpenMP runtime that PyTorch uses, so that both work with the same threads.

    A second runtime has threads of its own, and the threads of both wait by spinning, on the same cores.
    """
    lines = Path("/proc/self/maps").read_text(encoding="utf-8").splitlines()
    mapped = {Path(path) for line in lines for path in line.split(maxsplit=5)[5:]}
    runtimes = [path for path in mapped if _OPENMP.match(path.name)]
    if not runtimes:
        raise OSError("PyTorch has loaded no OpenMP runtime")
    # Other packages bring theirs too.
    home = Path(torch.__file__).parent
    ctypes.CDLL(str(min(runtimes, key=lambda path: home not in path.parents)), mode=ctypes.RTLD_GLOBAL)
