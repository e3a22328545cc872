"""What keeping the states of frozen layers saves: training with LoRA in the top layers only, with and without it.

python -m benchmarks.frozen_prefix --texts train.tsv --tokenizer FOLDER
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.contender import LEARNING_RATE, LORA
from benchmarks.material import MAX_LENGTH, SEED, build_random_base, encode_rows, load_rows

EPOCHS = 4


def main() -> None:
    """Alternate between the two; print a line each and the ratio of the medians."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.frozen_prefix", description=__doc__)
    parser.add_argument("--rows", type=int, default=256, help="rows in an epoch")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--precision", default="bf16")
    parser.add_argument("--layers", default="4,5", help="layers with LoRA, of six")
    parser.add_argument("--texts", type=Path, help="TSV or CSV with sentence or text, and label")
    parser.add_argument("--tokenizer", type=Path, help="folder with tokenizer.json")
    options = parser.parse_args()
    rates: dict[bool, list[float]] = {False: [], True: []}
    with tempfile.TemporaryDirectory(prefix="benchmark-") as scratch:
        base = build_random_base(Path(scratch) / "base", options.tokenizer)
        for _ in range(options.pairs):
            for keeps in rates:
                rates[keeps].append(_train(base, options, keeps=keeps))
    for keeps, found in rates.items():
        name = "kept" if keeps else "run every time"
        print(f"frozen layers {name}: {statistics.median(found):.1f} samples/s over {EPOCHS} epochs")
    print(f"ratio {statistics.median(rates[True]) / statistics.median(rates[False]):.2f}")


def _train(base: Path, options: argparse.Namespace, *, keeps: bool) -> float:
    """Return samples/s over all epochs, the first one, which computes the states, included."""
    from finetune30.config import ExperimentConfig
    from finetune30.data.batching import collate, epoch_order
    from finetune30.modeling.base import find_base
    from finetune30.modeling.devices import choose_placement
    from finetune30.problems.trainables import load_trainable
    from finetune30.training.paths import build_encoder, build_engine

    layers = [int(layer) for layer in options.layers.split(",")]
    tree: dict[str, Any] = {
        "model": {"name": str(base), "dropout": 0.0},
        "lora": {**LORA, "layers_to_transform": layers},
        "training": {"per_device_train_batch_size": options.batch, "seed": SEED},
    }
    config = ExperimentConfig.model_validate(tree)
    source = find_base(config.model)
    split = encode_rows(build_encoder("packed", source, MAX_LENGTH), load_rows(options.texts, options.rows))
    problem = load_trainable("single_label_classification", {"label_names": ["0", "1"]})
    engine = build_engine("packed", config, source, problem, choose_placement("cpu", options.precision))
    if keeps:
        engine.remember(split)
    started = time.perf_counter()
    for epoch in range(EPOCHS):
        for rows in epoch_order(split.lengths, options.batch, SEED, epoch):
            engine.accumulate(collate(split, rows, engine.pad_token_id), 1.0 / len(rows))
            float(engine.step(LEARNING_RATE))
    return EPOCHS * len(split) / (time.perf_counter() - started)


if __name__ == "__main__":
    main()
