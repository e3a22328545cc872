"""Both forms of the packed path's operations."""

from __future__ import annotations

import pytest


@pytest.fixture
def kernels() -> None:
    """Skip a test of compiled kernels where none were built: no compiler at installation."""
    from finetune30.training.packed.native.library import describe_kernels

    if describe_kernels() == "none":
        pytest.skip("the kernels were not compiled here")


@pytest.fixture(params=[True, False], ids=["compiled", "plain"])
def compiled(request: pytest.FixtureRequest) -> bool:
    """Say which form a test runs with; without compiled kernels that half is skipped."""
    if request.param:
        request.getfixturevalue("kernels")
    return bool(request.param)
