"""What `ft30 up` says once everything answers: where the page is, last and in a frame; and the page, opened."""

from __future__ import annotations

import os
import sys
import threading
import time
import urllib.error
import urllib.request
import webbrowser
from collections.abc import Callable, Sequence

_LOOK_SECONDS = 0.3
_ANSWER_SECONDS = 2.0
#: Where nothing answers by then, the lines of the services say why; the addresses are told all the same.
_LONGEST_SECONDS = 180.0


class Welcome:
    """Waits in the background until the services answer, then tells the lines and opens the page."""

    def __init__(
        self, lines: Sequence[str], asked: Sequence[str], page: str | None, tell: Callable[[str], None]
    ) -> None:
        """`asked` are addresses that answer once all is up, besides the `page` (None: there is none)."""
        self._lines, self._page, self._tell = list(lines), page, tell
        self._asked = [*asked, *([f"{page}/_stcore/health"] if page else [])]
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._wait, daemon=True)
        self._open = False

    def begin(self, *, open_page: bool) -> None:
        """Start to wait; `open_page`: open the page where there is somebody to look at it."""
        self._open = open_page
        self._thread.start()

    def end(self) -> None:
        """Stop waiting."""
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join(_ANSWER_SECONDS + 1)

    def _wait(self) -> None:
        left, latest = list(self._asked), time.monotonic() + _LONGEST_SECONDS
        while left and time.monotonic() < latest:
            left = [address for address in left if not _answers(address)]
            if left and self._ended.wait(_LOOK_SECONDS):
                return
        if self._ended.is_set():
            return
        self._tell(framed(self._lines))
        if self._open and self._page and not left and has_somebody():
            webbrowser.open(self._page)


def framed(lines: Sequence[str]) -> str:
    """Return lines in a frame, so that they are found among those of the services."""
    width = max(map(len, lines))
    rule = "─" * (width + 2)
    return "\n".join([f"┌{rule}┐", *(f"│ {line:<{width}} │" for line in lines), f"└{rule}┘"])


def has_somebody() -> bool:
    """Tell whether a browser can be opened for a person: not in a service, and not one that takes the terminal."""
    if not sys.stderr.isatty():
        return False
    if sys.platform in ("darwin", "win32"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def _answers(address: str) -> bool:
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # a proxy knows nothing of this machine
    try:
        with direct.open(address, timeout=_ANSWER_SECONDS):
            return True
    except (urllib.error.URLError, OSError):
        return False
