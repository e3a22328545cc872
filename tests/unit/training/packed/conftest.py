"""Both forms of the packed path's operations."""

from __future__ import annotations

import pytest


@pytest.fixture(params=[True, False], ids=["compiled", "plain"])
def compiled(request: pytest.FixtureRequest) -> bool:
    """Say which form a test runs with; without compiled kernels (no compiler at installation) that half is skipped."""
    from finetune30.training.packed.native.library import describe_kernels

    if request.param and describe_kernels() == "none":
        pytest.skip("the kernels were not compiled here")
    return bool(request.param)
