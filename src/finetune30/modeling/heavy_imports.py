"""Imports of libraries that take seconds."""

from __future__ import annotations

import gc
import importlib
import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import cache, wraps
from typing import Any, cast


def import_heavy(*names: str) -> None:
    """Import modules with the garbage collector at rest, and keep it away from what they made.

    Very many objects come to stay, and the collector would go through all of them again and again: a tenth to a fifth
    of the time that torch, transformers and peft take. Later collections pass over what is frozen, too.
    """
    # PEFT imports it where it is installed. It would say at each start that it could not fetch a kernel, and at each
    # product of 8 bits that it casts.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    if all(name in sys.modules for name in names):
        return
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        for name in names:
            with _compiling_at_first_call() if name == "peft" else nullcontext():
                importlib.import_module(name)
    finally:
        gc.freeze()
        if was_enabled:
            gc.enable()


@contextmanager
def _compiling_at_first_call() -> Iterator[None]:
    """Let `torch.compile`, of whatever is imported meanwhile, begin when what it compiles is first called.

    bitsandbytes, which PEFT imports where it is installed, compiles functions of optimizers as it is imported. That
    alone brings in PyTorch's inductor, for which every start waits a second.
    """
    torch = importlib.import_module("torch")
    compile_now = torch.compile

    def compile_later(function: Callable[..., Any] | None = None, **options: Any) -> Callable[..., Any]:
        if function is None:
            return lambda decorated: compile_later(decorated, **options)

        @cache
        def compiled() -> Callable[..., Any]:
            return cast(Callable[..., Any], compile_now(function, **options))

        @wraps(function)
        def call(*arguments: Any, **named: Any) -> Any:
            return compiled()(*arguments, **named)

        return call

    torch.compile = compile_later  # type: ignore[attr-defined]
    try:
        yield
    finally:
        torch.compile = compile_now  # type: ignore[attr-defined]
