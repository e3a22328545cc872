"""`ft30 export --as onnx`: read by onnxruntime against the adapter; what is another model is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from finetune30.errors import SelfTestError
from finetune30.modeling.exporting.onnx_files import quantize_onnx
from finetune30.service.exports.forms import ONNX
from finetune30.service.exports.judging import Bound, judge
from finetune30.service.exports.readers import onnx_reader
from finetune30.service.exports.reading import read_export
from support.exports import mutate, refer_to_run
from support.kinds import KindsLab
from support.talk_lab import TalkLab

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def exported(kinds_lab: KindsLab, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("onnx") / "classifier"
    kinds_lab.ft30("export", "single-label", "--as", "onnx", "--output", str(folder))
    return folder


@pytest.fixture(scope="module")
def reference(kinds_lab: KindsLab) -> Any:
    return refer_to_run(kinds_lab.folder, "single-label")


def judge_onnx(reference: Any, folder: Path, bound: Bound) -> dict[str, Any]:
    return judge(reference.measure(*onnx_reader.read_texts(str(folder), reference.request)), bound)


def change_model(change: Callable[[Any], None]) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        model = onnx.load(folder / "model.onnx")
        change(model)
        onnx.save(model, folder / "model.onnx")

    return apply


def permute(model: Any) -> None:
    """Put the rows of the head's weight, of the shape (3, 32) or (32, 3), into another order."""
    tensor = next(one for one in model.graph.initializer if sorted(one.dims) == [3, 32])
    values = onnx.numpy_helper.to_array(tensor)
    turned = values[::-1] if values.shape[0] == 3 else values[:, ::-1]
    tensor.CopyFrom(onnx.numpy_helper.from_array(np.ascontiguousarray(turned), tensor.name))


def freeze_batch(model: Any) -> None:
    for one in model.graph.input:
        one.type.tensor_type.shape.dim[0].dim_value = 1


def labels_of(model: Any) -> list[str]:
    names: list[str] = json.loads(next(one.value for one in model.metadata_props if one.key == "labels"))
    return names


def rename_tensor(model: Any) -> None:
    """Give the head's weight another name than the one by which it is used."""
    next(one for one in model.graph.initializer if sorted(one.dims) == [3, 32]).name += "_of_another"


MUTANTS = {
    "permutation": (change_model(permute), "logits differ"),
    "lost label": (
        change_model(lambda model: onnx.helper.set_model_props(model, {"labels": '["anger", "middle"]'})),
        "its labels are anger, middle",
    ),
    "labels in another order": (
        change_model(lambda model: onnx.helper.set_model_props(model, {"labels": json.dumps(labels_of(model)[::-1])})),
        "its labels are zest, middle, anger and not anger, middle, zest",
    ),
    "other tokens": (
        lambda folder: (folder / "tokenizer.json").write_text(
            (folder / "tokenizer.json").read_text().replace('"great"', '"grate"')
        ),
        "texts otherwise",
    ),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_another_model_is_refused(exported, reference, tmp_path, name):
    change, told = MUTANTS[name]
    with pytest.raises(SelfTestError, match=told):
        judge_onnx(reference, mutate(exported, tmp_path / "mutant", change), ONNX.bound)


def test_a_renamed_tensor_is_refused(exported, reference, tmp_path):
    renamed = mutate(exported, tmp_path / "renamed", change_model(rename_tensor))
    with pytest.raises(SelfTestError, match="cannot be read by onnx_reader"):
        read_export("onnx_reader", renamed, reference.request)


def test_a_batch_that_is_frozen_is_refused(exported, reference, tmp_path):
    frozen = mutate(exported, tmp_path / "frozen", change_model(freeze_batch))
    request = {**reference.request, "batch_size": 1}
    answer, arrays = onnx_reader.read_texts(str(frozen), request)
    with pytest.raises(SelfTestError, match="do not fit: axes 1, length"):
        judge(reference.measure(answer, arrays), ONNX.bound)


def test_the_receipt_names_onnxruntime_and_what_it_found(exported, reference):
    receipt = json.loads((exported / "receipt.json").read_text(encoding="utf-8"))
    assert (receipt["form"], receipt["precision"]) == ("onnx", "f32")
    assert receipt["reader"]["name"] == "onnxruntime"
    assert receipt["measured"]["flips"] == 0
    assert receipt["measured"]["logits"]["largest"] < 1e-5
    assert judge_onnx(reference, exported, ONNX.bound)["logits"] == receipt["measured"]["logits"]


def test_eight_bits_are_refused_unless_accepted_and_say_that_answers_depend_on_the_batch(exported, reference, tmp_path):
    rounded = mutate(exported, tmp_path / "int8", quantize_onnx)
    with pytest.raises(SelfTestError, match="logits differ"):
        judge_onnx(reference, rounded, ONNX.bound)
    told = judge_onnx(reference, rounded, Bound(1e-3, accepted=5.0, by="local:ann"))
    assert told["alone_against_batch"]["export"]["largest"] > 100 * told["alone_against_batch"]["adapter"]["largest"]
    assert (rounded / "model.onnx").stat().st_size < (exported / "model.onnx").stat().st_size


def test_forms_that_a_model_does_not_have_are_refused(kinds_lab, fork_server, tmp_path):
    refused = kinds_lab.server.run(
        "export", "single-label", "--as", "merged", "--precision", "int8", cwd=kinds_lab.folder
    )
    assert (refused.returncode, "it has f32" in refused.stderr) == (2, True)
    lab = TalkLab(fork_server, tmp_path / "talk")
    assert lab.train("results", {"training.num_train_epochs": 1}).returncode == 0
    refused = lab.ft30("export", "talk", "--as", "onnx")
    assert (refused.returncode, "choose --as merged or --as gguf or --as zip" in refused.stderr) == (2, True)
    assert lab.ft30("export", "talk", "--as", "merged").returncode == 0
