"""Imports of libraries that take seconds."""

from __future__ import annotations

import gc
import importlib
import logging
import sys


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
            importlib.import_module(name)
    finally:
        gc.freeze()
        if was_enabled:
            gc.enable()
