"""Device and precision: detected, named, refused."""

import pytest
import torch

from finetune30.errors import DeviceError
from finetune30.modeling.devices import choose_placement, cpu_has_bf16, peak_memory_bytes


def test_named_cpu_takes_the_precision_that_is_fast_in_hardware():
    placement = choose_placement("cpu", "auto")
    assert placement.device == "cpu"
    assert placement.precision == ("bf16" if cpu_has_bf16() else "fp32")


@pytest.mark.parametrize(("precision", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16)])
def test_named_precision_is_kept(precision, dtype):
    assert choose_placement("cpu", precision).dtype is dtype


def test_half_precision_on_a_cpu_is_refused_with_what_is_allowed():
    with pytest.raises(DeviceError, match="precision 'fp16' is not supported on cpu; allowed here: auto"):
        choose_placement("cpu", "fp16")


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
def test_missing_device_is_refused_with_what_there_is():
    with pytest.raises(DeviceError, match=r"device 'cuda' is not available; this machine has: .*cpu"):
        choose_placement("cuda", "auto")


def test_peak_memory_is_in_bytes():
    assert peak_memory_bytes("cpu") > 50 * 2**20
