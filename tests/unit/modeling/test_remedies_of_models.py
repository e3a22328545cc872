"""What an error about a base model or a device says to do is done to the letter, and the model is the right one."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from finetune30.config import ModelConfig, TrainingConfig
from finetune30.config.loading import load_override, validate_tree
from finetune30.errors import DeviceError, HubUnavailableError, ModelError
from finetune30.modeling.base import BaseSource, find_base, load_tokenizer
from finetune30.modeling.devices import Placement, choose_placement


def find(name: object, revision: str | None = None) -> BaseSource:
    return find_base(ModelConfig(name=str(name), revision=revision))


def refusal(name: object, revision: str | None = None) -> str:
    with pytest.raises(ModelError) as caught:
        find(name, revision)
    return str(caught.value.remedy)


def test_a_folder_has_no_revision_and_a_renamed_one_leaves_the_name_to_the_hub(
    tiny_model: Callable[..., Path], tmp_path: Path
) -> None:
    folder = shutil.copytree(tiny_model("bert"), tmp_path / "my-model")
    assert refusal("my-model", "v1") == "leave model.revision out, or rename the folder to mean the hub's model"
    assert find("my-model").folder == folder
    folder.rename(tmp_path / "another")
    with pytest.raises(HubUnavailableError, match="'my-model'"):  # the hub was meant, and there is none here
        find("my-model", "v1")


def test_pickled_weights_are_saved_as_safetensors_beside_the_tokenizer(
    tiny_model: Callable[..., Path], tmp_path: Path
) -> None:
    from transformers import AutoModel, AutoTokenizer

    whole = AutoModel.from_pretrained(tiny_model("bert")).state_dict()
    pickled = shutil.copytree(tiny_model("bert"), tmp_path / "pickled")
    (pickled / "model.safetensors").unlink()
    torch.save(whole, pickled / "pytorch_model.bin")
    assert refusal(pickled) == (
        "only safetensors is read; load model and tokenizer with transformers, save both with save_pretrained(folder), "
        "and name that folder in model.name"
    )
    folder = tmp_path / "folder"
    for kind in (AutoModel, AutoTokenizer):
        kind.from_pretrained(pickled).save_pretrained(folder)
    source = find(folder)
    saved = AutoModel.from_pretrained(source.folder, use_safetensors=True).state_dict()
    assert all(torch.equal(saved[name], weight) for name, weight in whole.items())
    text = "the film was not very good"
    assert load_tokenizer(source)(text)["input_ids"] == load_tokenizer(find(tiny_model("bert")))(text)["input_ids"]


@pytest.mark.parametrize("device", ["tpu", "cuda:0"])
def test_a_device_that_is_not_there_is_one_of_those_that_are(device: str) -> None:
    if device != "tpu" and torch.cuda.is_available():
        pytest.skip("this machine has CUDA")
    with pytest.raises(DeviceError) as caught:
        choose_placement(device, "auto")
    assert caught.value.remedy == "set training.device to null to detect it, or name one of those"
    named = caught.value.message.partition("this machine has: ")[2].split(", ")
    detected = _training(device=load_override("training.device", "null"))
    assert choose_placement(detected.device, detected.precision).device.partition(":")[0] == named[0]
    for name in named:
        chosen = _training(device=name)
        assert choose_placement(chosen.device, chosen.precision).device.partition(":")[0] == name


def test_a_precision_that_the_device_lacks_is_one_that_it_has() -> None:
    with pytest.raises(DeviceError) as caught:
        choose_placement("cpu", "fp16")
    named = re.fullmatch(r"set training\.precision to (\w+) or auto", caught.value.remedy)
    assert named is not None
    for precision in (named[1], "auto"):
        chosen = _training(device="cpu", precision=precision)
        assert choose_placement(chosen.device, chosen.precision).precision == named[1]
    assert isinstance(choose_placement("cpu", named[1]), Placement)


def test_an_adapter_is_named_beside_the_model_that_it_was_made_for(
    tiny_model: Callable[..., Path], tmp_path: Path
) -> None:
    from peft import LoraConfig, get_peft_model
    from safetensors.torch import load_file
    from transformers import AutoModelForSequenceClassification

    from finetune30.service.execution.warm_start import load_start_adapter
    from support.engines import build_general, configure

    adapter = tmp_path / "adapter"
    lora = LoraConfig(task_type="SEQ_CLS", r=2, target_modules=["query", "value"], init_lora_weights=False)
    base = AutoModelForSequenceClassification.from_pretrained(tiny_model("bert"))
    get_peft_model(base, lora).save_pretrained(str(adapter))
    assert refusal(adapter) == (
        "name the model that it was made for in model.name, and the adapter's folder in training.start_adapter to "
        "begin from its weights"
    )
    made_for = json.loads((adapter / "adapter_config.json").read_text())["base_model_name_or_path"]
    assert find(made_for).folder == tiny_model("bert").resolve()
    engine = build_general(configure(Path(made_for), lora={"r": 2}))
    begun_anew = engine.adapter_state()
    engine.load_adapter_state(load_start_adapter(str(adapter)))
    saved, state = load_file(adapter / "adapter_model.safetensors"), engine.adapter_state()
    assert state.keys() == saved.keys()
    assert all(torch.equal(state[name], weight) for name, weight in saved.items())
    assert not all(torch.equal(begun_anew[name], weight) for name, weight in saved.items())


def _training(**values: object) -> TrainingConfig:
    return validate_tree({"training": values}).training
