"""What a part of the check finds, and what it is given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


class NotRunError(Exception):
    """A part cannot run here; the message is the reason."""


@dataclass(frozen=True)
class Finding:
    """One row of the table: `target` is what is asked for, `ok` None for a figure that nothing is asserted of."""

    what: str
    found: str
    target: str = ""
    ok: bool | None = None

    def describe(self) -> dict[str, Any]:
        """Return JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class Context:
    """What every part gets: the kind of device, a folder for bases shared by all parts, and where findings go."""

    device: str
    scratch: Path
    sites: Path
    tell: Callable[[Finding], None]

    @property
    def on_gpu(self) -> bool:
        """Whether this is the real check; on a CPU all sizes are tiny."""
        return self.device == "cuda"

    def figure(self, what: str, found: str, target: str = "") -> None:
        """Tell a figure that nothing is asserted of."""
        self.tell(Finding(what, found, target))

    def assert_that(self, holds: bool, what: str, found: str, target: str) -> None:
        """Tell whether something holds; the part goes on either way, and has failed where it does not."""
        self.tell(Finding(what, found, target, bool(holds)))

    def assert_below(self, value: float, limit: float, what: str) -> None:
        """Assert that a difference is at most `limit`; one that is not a number is not."""
        self.assert_that(value <= limit, what, f"{value:.2g}", f"at most {limit:g}")
