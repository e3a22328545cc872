"""What pyproject.toml cannot say: the presets in the package, and the packed path's kernels, which are optional."""

import platform
import sys
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py

#: Sources of the kernels, compiled together.
KERNELS = (
    "about",
    "attention",
    "causal_attention",
    "cross_entropy",
    "decoder",
    "gelu",
    "kept_attention",
    "lora",
    "masks",
    "norm",
    "products",
)


class BuildWithPresets(build_py):
    """Copies config/*.yaml, but not the temporary files of submitted runs, into the package as `finetune30/presets`."""

    def run(self) -> None:
        """Build the package, then add the presets."""
        super().run()
        if self.editable_mode:
            return  # an editable installation reads config/ itself
        target = Path(self.build_lib, "finetune30", "presets")
        self.mkpath(str(target))
        for source in sorted(Path("config").glob("*.yaml")):
            if not source.name.startswith("temp_"):
                self.copy_file(str(source), str(target / source.name))


class BuildKernels(build_ext):
    """Gives the kernels a name that Python does not take for a module's; they are loaded through ctypes."""

    def get_ext_filename(self, fullname: str) -> str:
        """Return the file of an extension, relative to the package's root."""
        return fullname.replace(".", "/") + ".kernels"


def describe_kernels() -> list[Extension]:
    """Return a library for each instruction set; without a compiler they are left out and PyTorch's operators run."""
    if sys.platform != "linux":
        return []  # not tried elsewhere
    variants = {"baseline": []}
    if platform.machine() == "x86_64":
        # What PyTorch calls AVX2 and AVX512: the package may run on another machine than this one.
        avx512 = ["-march=x86-64-v4", "-mprefer-vector-width=512"]
        variants = {"avx2": ["-march=x86-64-v3"], "avx512": avx512, "avx512_bf16": [*avx512, "-mavx512bf16"]}
    # Not linked with OpenMP: at run time they take the runtime that PyTorch has brought, whichever it is.
    folder, package = "src/finetune30/training/packed/native", "finetune30.training.packed.native"
    flags = ["-std=c++17", "-O3", "-fopenmp", "-fvisibility=hidden", "-fno-math-errno", "-fno-trapping-math"]
    return [
        Extension(
            f"{package}.{variant}",
            [f"{folder}/{name}.cpp" for name in KERNELS],
            depends=[
                f"{folder}/{name}.h"
                for name in ("arithmetic", "blocks", "looking_back", "small_products", "tiles", "vectors")
            ],
            language="c++",
            extra_compile_args=[*flags, "-Wno-psabi", *architecture],
            optional=True,
        )
        for variant, architecture in variants.items()
    ]


setup(cmdclass={"build_py": BuildWithPresets, "build_ext": BuildKernels}, ext_modules=describe_kernels())
