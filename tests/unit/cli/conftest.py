"""What tests of commands share: a terminal to type in, and the records that it writes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from finetune30.store import RunStore, open_store
from support.following import Terminal


@pytest.fixture
def ft30(capsys: pytest.CaptureFixture[str]) -> Terminal:
    """Commands as they are typed, in this process."""
    return Terminal(capsys)


@pytest.fixture
def store() -> Iterator[RunStore]:
    """The records of the folder that the test stands in."""
    opened = open_store("sqlite:///results/experiments.db")
    yield opened
    opened.close()
