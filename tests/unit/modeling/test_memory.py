"""Out of memory, as every allocator words it."""

from __future__ import annotations

import pytest
import torch

from finetune30.modeling.memory import describe_out_of_memory

OUT = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    MemoryError(),
    RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"),
    RuntimeError("MPS backend out of memory (MPS allocated: 8.00 GB, max allowed: 9.07 GB)."),
    RuntimeError("Invalid buffer size: 14.90 GB"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    torch.AcceleratorError("CUDA error: out of memory", 2),
]


@pytest.mark.parametrize("error", OUT, ids=str)
def test_memory_that_ran_out_is_told_by_every_allocators_words(error):
    assert describe_out_of_memory(error) is not None


@pytest.mark.parametrize("error", [RuntimeError("CUDA error: an illegal memory access"), ValueError("out of memory")])
def test_other_errors_are_something_else(error):
    assert describe_out_of_memory(error) is None
