"""Device and precision: detected, named, refused."""

import pytest
import torch

from finetune30.errors import DeviceError
from finetune30.modeling import devices
from finetune30.modeling.devices import choose_placement, cpu_gains_by_bf16, find_unused_gpu, peak_memory_bytes
from support.present import present


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


@pytest.fixture
def cuda(monkeypatch):
    """A machine whose PyTorch says that it has one GPU; returns what decides of its capability and its kernels."""
    told = {"capability": (8, 6), "built": ["sm_75", "sm_80", "sm_90", "compute_120"]}
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "set_device", lambda _: None)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _=0: "NVIDIA Tester")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _=0: told["capability"])
    monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: told["built"])
    return told


@pytest.mark.parametrize("capability", [(7, 5), (8, 0), (8, 6), (8, 9), (9, 0), (12, 0), (12, 1), (13, 0)])
def test_gpu_with_kernels_of_its_generation_or_an_earlier_one_to_compile_is_used(cuda, capability):
    cuda["capability"] = capability
    assert choose_placement("cuda:0", "auto").device == "cuda:0"


@pytest.mark.parametrize("capability", [(6, 1), (7, 0), (10, 0)])
def test_gpu_without_kernels_is_refused_before_the_first_of_them(cuda, capability):
    cuda["capability"] = capability
    with pytest.raises(DeviceError, match=r"NVIDIA Tester.* capability .*, and this PyTorch .* kernels for sm_75"):
        choose_placement("cuda:0", "auto")
    assert choose_placement("cpu", "auto").device == "cpu", "as the remedy says"


def test_gpu_that_pytorch_cannot_use_is_told(monkeypatch, tmp_path):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    placement = choose_placement("cpu", "auto")
    monkeypatch.setattr(devices, "_NVIDIA_PLACES", (str(tmp_path / "none"),))
    assert find_unused_gpu(placement, None) is None
    monkeypatch.setattr(devices, "_NVIDIA_PLACES", (str(tmp_path),))
    assert find_unused_gpu(placement, "cpu") is None, "the CPU was asked for"
    monkeypatch.setattr(torch.version, "cuda", None)
    assert "a build without CUDA" in present(find_unused_gpu(placement, None))
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    assert "built for CUDA 13.0, which the driver does not serve" in present(find_unused_gpu(placement, "auto"))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert find_unused_gpu(placement, None) is None, "hidden on purpose"


def test_peak_memory_is_in_bytes():
    assert peak_memory_bytes("cpu") > 50 * 2**20
