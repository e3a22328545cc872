"""What a file says about the training that suits it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from finetune30.config import ExperimentConfig
from finetune30.service.datasets.proposal import name_of, propose_settings
from finetune30.settings import Settings

REVIEWS = {"差": "房間很髒，我們不會再來了", "普通": "還可以，沒有特別的地方", "好": "服務非常好，早餐也好吃"}


def propose(tmp_path: Path, name: str, content: bytes, **data: Any) -> dict[str, Any]:
    path = tmp_path / name
    path.write_bytes(content)
    config = ExperimentConfig.model_validate({"data": {"dataset_name": str(path), **data}})
    return propose_settings(config, Settings(data_folder=tmp_path / "store"))


def test_encoding_columns_labels_script_and_name_are_read_from_a_file(tmp_path: Path) -> None:
    lines = ["編號,評論,評價"]
    for number in range(60):
        label = list(REVIEWS)[number % 3]
        lines.append(f"{number},{REVIEWS[label]}{number}號,{label}")
    found = propose(
        tmp_path, "旅館 評論.csv", "\n".join(lines).encode("cp950"), text_column="評論", label_column="評價"
    )
    assert found["rows"] == {"train": 60}
    assert (set(found["labels"]), found["label_count"]) == (set(REVIEWS), 3)
    assert found["script"] == "Han"
    assert any("cp950" in note for note in found["notes"])
    settings = found["settings"]
    assert (settings["model.num_labels"], settings["data.label_column"]) == (3, "評價")
    assert settings["data.text_column"] == "評論"
    assert settings["experiment_name"] == "旅館 評論"
    assert settings["data.train_samples"] is None
    starter = next((model for model in found["models"] if model["name"] == "starter"), None)
    if starter is not None:  # where it is installed
        assert not starter["fits"]
        assert starter["unknown_share"] > 0.3
    assert ExperimentConfig.model_validate({"experiment_name": settings["experiment_name"]})


def test_numbers_as_labels_want_one_output(tmp_path: Path) -> None:
    rows = "".join(f"a sentence about number {number},{number / 7:.3f}\n" for number in range(60))
    found = propose(tmp_path, "scores.csv", f"text,label\n{rows}".encode())
    assert (found["problem_type"], found["labels"]) == ("regression", [])
    assert found["settings"]["model.num_labels"] == 1


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("store/uploads/1a/my reviews.csv", "my reviews"),
        ("a.csv.gz", "a"),
        ("rows.ndjson", "rows"),
        ("rows.TAB", "rows"),
        ("asked.txt.zip", "asked"),
        ("v1.2 (final).xlsx", "v1.2 final"),
        ("評" * 90 + ".csv", "評" * 60),
        ("𠮷" * 90 + ".csv", "𠮷" * 50),
        ("§.csv", "my data"),
    ],
)
def test_names_of_files_become_names_of_experiments(file: str, name: str) -> None:
    assert name_of(file) == name
    assert ExperimentConfig.model_validate({"experiment_name": name}).experiment_name == name
