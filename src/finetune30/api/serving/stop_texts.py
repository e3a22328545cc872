"""Texts that end an answer, found while it comes piece by piece."""

from __future__ import annotations

from collections.abc import Sequence


class StopTexts:
    """Holds back what may be the beginning of one of the texts, and tells when one is there."""

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops, self._held = tuple(stops), ""
        #: Whether one of the texts came.
        self.found = False

    def pass_on(self, piece: str) -> str:
        """Return what may be told of all that came."""
        self._held += piece
        places = [place for stop in self._stops if (place := self._held.find(stop)) >= 0]
        if places:
            self.found = True
            told, self._held = self._held[: min(places)], ""
            return told
        kept = max((_overlap(self._held, stop) for stop in self._stops), default=0)
        told, self._held = self._held[: len(self._held) - kept], self._held[len(self._held) - kept :]
        return told

    def end(self) -> str:
        """Return what was held back, once nothing more comes."""
        told, self._held = self._held, ""
        return told


def _overlap(text: str, stop: str) -> int:
    """Return how many characters at the end of a text begin the other one."""
    return next((size for size in range(min(len(text), len(stop) - 1), 0, -1) if text.endswith(stop[:size])), 0)
