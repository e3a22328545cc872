"""Signals that ask a training to stop at its next step, with a checkpoint."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

#: Under a launcher a signal comes more than once: to the terminal's whole group, and passed on by the launcher.
_SAME_WISH_SECONDS = 5.0


@contextmanager
def stop_on_signals(tell: Callable[[str], None], *, together: bool = False) -> Iterator[Callable[[], str | None]]:
    """Turn the first signal into a request to stop at the next step, and say so; the second one interrupts.

    Gives a function that returns the reason, None to go on. `together`: under a launcher, whose SIGTERM is no person's
    wish: it hands the run back ("released"), while Ctrl-C cancels.
    """
    asked: list[tuple[str, float]] = []

    def stop(number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if asked and together and now - asked[0][1] < _SAME_WISH_SECONDS:
            return
        if asked:
            raise KeyboardInterrupt
        asked.append(("released" if together and number == signal.SIGTERM else "cancelled", now))
        with suppress(RuntimeError):  # the signal came in the middle of another line
            tell("stopping at the next step, with a checkpoint; once more stops at once")

    before = {number: signal.signal(number, stop) for number in _stop_signals()}
    try:
        yield lambda: asked[0][0] if asked else None
    finally:
        for number, handler in before.items():
            # A launcher ends all that is left when one process has: this one ends by itself, with its own exit code.
            signal.signal(number, signal.SIG_IGN if together and number == signal.SIGTERM else handler)


def _stop_signals() -> list[signal.Signals]:
    """Return the signals that ask for an end; a terminal that goes away is none under nohup, which ignores it."""
    heard = [signal.SIGINT, signal.SIGTERM]
    hang_up: signal.Signals | None = getattr(signal, "SIGHUP", None)  # Windows has none
    if hang_up is not None and signal.getsignal(hang_up) is not signal.SIG_IGN:
        heard.append(hang_up)
    return heard
