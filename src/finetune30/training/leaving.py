"""The end of a process in which something goes on that cannot be ended: a call into C++, a sum with a lost process.

The interpreter ends threads at exit by unwinding them, which aborts the process (`terminate called without an active
exception`) where C++ stands on the stack; and it waits for ever for an operation whose other side is gone.
"""

from __future__ import annotations

import atexit
import os
import sys
from contextlib import suppress

from finetune30.errors import CancelledError, Finetune30Error


def leave_at_once_at_exit(error: BaseException | None) -> None:
    """Let this process end, when it does, with the exit code of an error (None: 0) and without waiting for anything."""
    exit_code = _exit_code(error)

    def leave() -> None:
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):
                stream.flush()
        os._exit(exit_code)

    atexit.register(leave)


def _exit_code(error: BaseException | None) -> int:
    if error is None:
        return 0
    if isinstance(error, KeyboardInterrupt):
        return CancelledError.exit_code
    return error.exit_code if isinstance(error, Finetune30Error) else Finetune30Error.exit_code
