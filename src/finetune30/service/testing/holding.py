"""Holding a look at test rows: it says again and again that it goes on, so that no other begins beside it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from finetune30.errors import StorageError


@contextmanager
def held(hold: Callable[[], None], every_seconds: float, name: str) -> Iterator[None]:
    """Call `hold` in a thread of that name until the block ends; whoever is killed says nothing more."""
    is_over = threading.Event()

    def keep_holding() -> None:
        while not is_over.wait(every_seconds):
            with suppress(StorageError):  # said again in a while
                hold()

    thread = threading.Thread(target=keep_holding, name=name, daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()
