"""What tests of the compiled kernels share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from finetune30.training.packed.native import library


@pytest.fixture
def fresh_search() -> Iterator[None]:
    """Let the library be looked for anew, now and afterwards."""
    library._find_library.cache_clear()
    yield
    library._find_library.cache_clear()
