"""Device and precision: detected, named, refused."""

import pytest
import torch

from finetune30.errors import DeviceError
from finetune30.modeling.devices import choose_placement, cpu_gains_by_bf16, peak_memory_bytes


def test_named_cpu_takes_the_precision_that_is_fast_in_hardware():
    placement = choose_placement("cpu", "auto")
    assert placement.device == "cpu"
    assert placement.precision == ("bf16" if cpu_gains_by_bf16() else "fp32")


#: What `torch.cpu.get_capabilities` says of processors.
INTEL = {"cpu_name": "Intel Xeon", "avx512_bf16": True, "amx_bf16": False}
AMD = {"cpu_name": "AMD EPYC", "avx512_bf16": True, "amx_bf16": False}


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="PyTorch has no oneDNN here")
@pytest.mark.parametrize(
    ("able", "gains"),
    [
        (INTEL, False),
        ({**INTEL, "amx_bf16": True}, True),
        (AMD, True),
        ({**AMD, "avx512_bf16": False}, False),
        ({"cpu_name": "Apple M4"}, False),
    ],
)
def test_bf16_is_chosen_only_on_processors_that_multiply_faster_in_it(monkeypatch, able, gains):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: able)
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: True)
    assert cpu_gains_by_bf16() is gains


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
