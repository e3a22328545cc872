"""Every shipped configuration that names something of the hub, trained a few steps on models and sets of that shape."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from finetune30.config.presets import list_presets, load_preset
from finetune30.config.schema import STARTER, STARTER_CHAT, STARTER_ZH
from support.fork_server import Ended
from support.stand_in_hub import Repository

pytestmark = pytest.mark.integration

#: Presets of the starter model whose rows can come from the hub: what their first lines say.
ROWS_FROM_THE_HUB = {"banking77_minilm": "banking77", "sst2_sentence_minilm": "SetFit/sst2"}
NEEDS_THE_HUB = sorted(
    preset.name
    for preset in list_presets()
    if load_preset(preset.name).config.model.name not in (STARTER, STARTER_CHAT)
    or load_preset(preset.name).config.data.dataset_name not in (STARTER, STARTER_ZH, f"data/{preset.name}")
)


def train(ft30: Callable[..., Ended], tmp_path: Path, name: str, *flags: str, **environment: str) -> dict:
    """Train a preset for three steps; return the metrics."""
    few = ("--training.max_steps", "3", "--train_samples", "48", "--eval_samples", "24", "--training.precision", "fp32")
    done = ft30("train", "--preset", name, *few, *flags, **environment)
    assert done.returncode == 0, done.stderr
    assert "instead" not in done.stderr
    (run,) = [path for path in (tmp_path / "results").iterdir() if path.is_dir()]
    metrics: dict = json.loads((run / "metrics.json").read_text())
    assert metrics["replaced"] == {}
    return metrics


@pytest.mark.parametrize("name", [name for name in NEEDS_THE_HUB if name not in (*ROWS_FROM_THE_HUB, "trec_minilm")])
def test_a_preset_trains_on_what_the_hub_has(ft30, tmp_path, name, request):
    flags: tuple[str, ...] = ()
    environment = {}
    if load_preset(name).config.model.problem_type == "causal_lm":
        flags = ("--set", "chat.eval_generations=2", "--set", "chat.general_rows=2")
    if load_preset(name).config.model.name == STARTER_CHAT:
        environment["FT30_DATA_FOLDER"] = str(request.getfixturevalue("starter_chat_data"))  # converted once for all
    metrics = train(ft30, tmp_path, name, *flags, **environment)
    config = load_preset(name).config
    assert metrics["problem_type"] == {"auto": "single_label_classification"}.get(
        config.model.problem_type, config.model.problem_type
    )
    assert len(metrics["labels"]) in (config.model.num_labels, 0)


@pytest.mark.parametrize(("name", "rows"), ROWS_FROM_THE_HUB.items())
def test_a_preset_with_local_rows_takes_them_from_the_hub_where_its_first_lines_say_so(
    hub, ft30, tmp_path, repository, name, rows
):
    assert f"--dataset {rows}" in (repository / "config" / f"{name}.yaml").read_text().partition("experiment_name")[0]
    labels = load_preset(name).config.model.num_labels
    hub.add(_rows_of_shape(rows, labels))
    # Few rows are enough here: so many classes need a row each.
    metrics = train(ft30, tmp_path, name, "--dataset", rows, "--train_samples", "null", "--eval_samples", "null")
    assert len(metrics["labels"]) == labels


def _rows_of_shape(name: str, labels: int) -> Repository:
    """As the hub's pages show them: Parquet with names of classes, or JSON lines with the name beside the number."""
    texts = [f"question {number} about topic {number % labels} of many" for number in range(3 * labels)]
    if name == "SetFit/sst2":
        rows = [
            {"text": text, "label": number % 2, "label_text": ("negative", "positive")[number % 2]}
            for number, text in enumerate(texts * 20)
        ]
        lines = {
            split: "".join(
                json.dumps({**row, "text": f"{row['text']} {split} {number}"}) + "\n" for number, row in enumerate(rows)
            )
            for split in ("train", "dev", "test")
        }
        return Repository("datasets", name, {f"{split}.jsonl": text.encode() for split, text in lines.items()})
    names = [f"topic_{number}" for number in range(labels)]
    card = {
        "configs": [
            {
                "config_name": "default",
                "data_files": [{"split": s, "path": f"data/{s}-*"} for s in ("train", "test")],
            }
        ],
        "dataset_info": {
            "features": [
                {"name": "text", "dtype": "string"},
                {"name": "label", "dtype": {"class_label": {"names": {str(i): n for i, n in enumerate(names)}}}},
            ]
        },
    }  # fmt: skip
    files = {"README.md": f"---\n{yaml.safe_dump(card)}---\n".encode()}
    for split in ("train", "test"):
        files[f"data/{split}-00000-of-00001.parquet"] = _parquet([f"{split} {text}" for text in texts], labels)
    return Repository("datasets", f"legacy-datasets/{name}", files, aliases=(name,))


def _parquet(texts: list[str], labels: int) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = pa.BufferOutputStream()
    ids = [number % labels for number in range(len(texts))]
    pq.write_table(pa.table({"text": texts, "label": pa.array(ids, pa.int64())}), sink)
    return bytes(sink.getvalue())
