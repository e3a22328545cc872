"""Accuracy parity: the packed path in float32 and bfloat16 and the general path, same rows, several seeds.

python -m benchmarks.accuracy --train train.csv --dev dev.csv --rows 2000 --seeds 5 --output build/accuracy.md
"""

from __future__ import annotations

import argparse
import statistics
import warnings
from pathlib import Path
from typing import Any

from benchmarks.material import MAX_LENGTH, encode_rows, load_rows

CONTENDERS = (("general", "fp32"), ("packed", "fp32"), ("packed", "bf16"))


class Silent:
    """Training hooks that report nothing and never stop."""

    def on_progress(self, progress: Any) -> None:
        pass

    def on_record(self, record: dict[str, Any]) -> None:
        pass

    def stop_reason(self) -> str | None:
        return None


def main() -> None:
    """Train every contender with every seed; print mean and spread of the accuracy."""
    warnings.simplefilter("ignore")
    options = _parse()
    train_rows, dev_rows = load_rows(options.train, options.rows), load_rows(options.dev, 10**9)
    contenders = [contender for contender in CONTENDERS if contender[0] in options.paths.split(",")]
    seeds = range(options.first_seed, options.first_seed + options.seeds)
    found: dict[str, list[float]] = {" ".join(contender): [] for contender in contenders}
    for seed in seeds:
        for path, precision in contenders:
            accuracy = _train(path, precision, seed, options, train_rows, dev_rows)
            found[f"{path} {precision}"].append(accuracy)
            print(f"seed {seed} {path} {precision}: {accuracy:.4f}", flush=True)
    lines = ["| path | " + " | ".join(f"seed {seed}" for seed in seeds) + " | mean | spread (s) |"]
    lines.append("|---" * (options.seeds + 3) + "|")
    for name, values in found.items():
        cells = " | ".join(f"{value:.3f}" for value in values)
        spread = statistics.stdev(values) if len(values) > 1 else 0.0
        lines.append(f"| {name} | {cells} | {statistics.mean(values):.4f} | {spread:.4f} |")
    text = "\n".join(lines) + "\n"
    print(text)
    if options.output is not None:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_text(text, encoding="utf-8")


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.accuracy", description=__doc__)
    parser.add_argument("--model", default="starter", help="base model")
    parser.add_argument("--train", type=Path, required=True, help="CSV or TSV with text and label")
    parser.add_argument("--dev", type=Path, required=True, help="the rows to be judged by")
    parser.add_argument("--rows", type=int, default=2000, help="training rows")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--paths", default="general,packed", help="training paths to compare")
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--output", type=Path, help="file for the Markdown table")
    return parser.parse_args()


def _train(
    path: str,
    precision: str,
    seed: int,
    options: argparse.Namespace,
    train_rows: list[tuple[str, int]],
    dev_rows: list[tuple[str, int]],
) -> float:
    from finetune30.config import ExperimentConfig
    from finetune30.modeling.base import find_base
    from finetune30.modeling.devices import choose_placement
    from finetune30.problems.trainables import load_trainable
    from finetune30.training.loop import train
    from finetune30.training.paths import build_encoder, build_engine

    config = ExperimentConfig.model_validate(
        {
            "model": {"name": options.model},
            "lora": {"target_modules": "auto"},
            "data": {"max_length": MAX_LENGTH},
            "training": {
                "seed": seed,
                "learning_rate": options.learning_rate,
                "per_device_train_batch_size": options.batch,
                "eval_strategy": "no",
            },
        }
    )
    source = find_base(config.model)
    encoder = build_encoder(path, source, MAX_LENGTH)
    problem = load_trainable("single_label_classification", {"label_names": ["negative", "positive"]})
    engine = build_engine(path, config, source, problem, choose_placement("cpu", precision))
    splits = encode_rows(encoder, train_rows), encode_rows(encoder, dev_rows)
    result = train(engine, *splits, config.training, problem, Silent())
    return float(result.metrics["eval_accuracy"])


if __name__ == "__main__":
    main()
