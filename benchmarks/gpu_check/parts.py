"""The parts, in the order in which they are carried out: correctness first, since speed without it says nothing."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Part:
    """`call` is `module:function` of this package; `seconds` the most that it may take."""

    name: str
    call: str
    seconds: int
    compares_peers: bool = False


PARTS = (
    Part("environment", "environment:check", 60),
    Part("precision", "precision:check", 80),
    Part("exact-resume", "exact_resume:check", 90),
    Part("isolation", "isolation:check", 40),
    Part("gpu-kernels", "gpu_kernels:check", 120),
    Part("memory", "memory:check", 60),
    Part("qlora", "qlora:check", 60),
    Part("classifiers", "classifiers:check", 80),
    Part("language-models-1b", "language_models:check_1b", 80),
    Part("language-models-8b", "language_models:check_8b", 150),
    Part("language-models-8b-nf4", "language_models:check_8b_nf4", 120),
    Part("peer-trl", "peers:check_trl", 110, compares_peers=True),
    Part("peer-trl-liger", "peers:check_trl_with_liger", 110, compares_peers=True),
    Part("peer-unsloth", "peers:check_unsloth", 110, compares_peers=True),
)
