"""Accuracy and stability of the training paths: the packed one in float32 and bfloat16 and the general one, same rows.

    python -m benchmarks.accuracy --train train.csv --dev dev.csv --rows 2000 --seeds 5 --output build/accuracy.md
    python -m benchmarks.accuracy --train train.csv --dev dev.csv --stability --warmup-ratio 0.1

`--stability` counts the trainings that collapsed: nearly all evaluation rows are given one class. At a rate that is too
high that happens on every path; a faster path must not do it more often, which Fisher's exact test judges. For another
version of the product put its sources first: `PYTHONPATH=FOLDER/src python -m benchmarks.accuracy …`.
"""

from __future__ import annotations

import argparse
import statistics
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.stats import fisher_exact

from benchmarks.material import MAX_LENGTH, encode_rows, load_rows

CONTENDERS = (("general", "fp32"), ("packed", "fp32"), ("packed", "bf16"))
#: A training that gives this share of the evaluation rows one class has learnt that class only.
COLLAPSED = 0.99
SEEDS, STABILITY_SEEDS = 5, 32


class Trained(NamedTuple):
    """Accuracy of a training, and the share of the evaluation rows that get the class which is given most."""

    accuracy: float
    largest_share: float

    @property
    def collapsed(self) -> bool:
        """Tell whether nearly every row is given one class."""
        return self.largest_share >= COLLAPSED


def main() -> None:
    """Train every contender with every seed; print accuracy, or how many collapsed."""
    warnings.simplefilter("ignore")
    options = _parse()
    rows = load_rows(options.train, options.rows), load_rows(options.dev, 10**9)
    contenders = [contender for contender in CONTENDERS if contender[0] in options.paths.split(",")]
    seeds = range(options.first_seed, options.first_seed + options.seeds)
    found: dict[str, list[Trained]] = {" ".join(contender): [] for contender in contenders}
    for seed in seeds:
        for path, precision in contenders:
            trained = _train(path, precision, seed, options, rows)
            found[f"{path} {precision}"].append(trained)
            collapsed = ", collapsed" if trained.collapsed else ""
            print(f"seed {seed} {path} {precision}: {trained.accuracy:.4f}{collapsed}", flush=True)
    text = (tabulate_collapses if options.stability else tabulate_accuracy)(found)
    print(text)
    if options.output is not None:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_text(text, encoding="utf-8")


def tabulate_accuracy(found: Mapping[str, Sequence[Trained]]) -> str:
    """Return mean and spread of the accuracy of every contender, as a table in Markdown."""
    count = len(next(iter(found.values())))
    lines = ["| path | " + " | ".join(f"seed {number}" for number in range(1, count + 1)) + " | mean | spread (s) |"]
    lines.append("|---" * (count + 3) + "|")
    for name, trained in found.items():
        values = [one.accuracy for one in trained]
        cells = " | ".join(f"{value:.3f}" for value in values)
        spread = statistics.stdev(values) if len(values) > 1 else 0.0
        lines.append(f"| {name} | {cells} | {statistics.mean(values):.4f} | {spread:.4f} |")
    return "\n".join(lines) + "\n"


def tabulate_collapses(found: Mapping[str, Sequence[Trained]]) -> str:
    """Return how many trainings of every contender collapsed, with Fisher's test against the first, in Markdown.

    The accuracy is the mean of those that did not collapse.
    """
    lines = ["| path | trainings | collapsed | p against the first | accuracy of the others |", "|---|---|---|---|---|"]
    first = _count(next(iter(found.values())))
    for name, trained in found.items():
        counts = _count(trained)
        p = float(fisher_exact([first, counts]).pvalue)
        others = [one.accuracy for one in trained if not one.collapsed]
        accuracy = f"{statistics.mean(others):.4f}" if others else "–"
        lines.append(f"| {name} | {len(trained)} | {counts[0]} | {p:.3f} | {accuracy} |")
    return "\n".join(lines) + "\n"


def _count(trained: Sequence[Trained]) -> tuple[int, int]:
    collapsed = sum(one.collapsed for one in trained)
    return collapsed, len(trained) - collapsed


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.accuracy", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="starter", help="base model")
    parser.add_argument("--train", type=Path, required=True, help="CSV or TSV with text and label")
    parser.add_argument("--dev", type=Path, required=True, help="the rows to be judged by")
    parser.add_argument("--rows", type=int, default=2000, help="training rows")
    parser.add_argument("--stability", action="store_true", help="count the trainings that collapse to one class")
    parser.add_argument("--seeds", type=int, help=f"default {SEEDS}, with --stability {STABILITY_SEEDS}")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--paths", default="general,packed", help="training paths to compare")
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    parser.add_argument("--warmup-ratio", type=float, default=0.0)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--output", type=Path, help="file for the Markdown table")
    options = parser.parse_args()
    if options.seeds is None:
        options.seeds = STABILITY_SEEDS if options.stability else SEEDS
    return options


def _train(
    path: str,
    precision: str,
    seed: int,
    options: argparse.Namespace,
    rows: tuple[list[tuple[str, int]], list[tuple[str, int]]],
) -> Trained:
    from finetune30.config import ExperimentConfig
    from finetune30.modeling.base import find_base
    from finetune30.modeling.devices import choose_placement
    from finetune30.problems.trainables import load_trainable
    from finetune30.training.loop import train
    from finetune30.training.paths import build_encoder, build_engine
    from finetune30.training.progress import QuietHooks

    labels = max(label for split in rows for _, label in split) + 1
    config = ExperimentConfig.model_validate(
        {
            "model": {"name": options.model, "num_labels": labels},
            "lora": {"target_modules": "auto"},
            "data": {"max_length": MAX_LENGTH},
            "training": {
                "seed": seed,
                "learning_rate": options.learning_rate,
                "warmup_ratio": options.warmup_ratio,
                "per_device_train_batch_size": options.batch,
                "eval_strategy": "no",
            },
        }
    )
    source = find_base(config.model)
    encoder = build_encoder(path, source, MAX_LENGTH)
    problem = load_trainable(
        "single_label_classification", {"label_names": [f"class {number}" for number in range(labels)]}
    )
    engine = build_engine(path, config, source, problem, choose_placement("cpu", precision))
    splits = encode_rows(encoder, rows[0]), encode_rows(encoder, rows[1])
    result = train(engine, *splits, config.training, problem, QuietHooks())
    assert result.evaluation_outputs is not None
    given = np.bincount(result.evaluation_outputs.argmax(axis=1))
    return Trained(float(result.metrics["eval_accuracy"]), float(given.max() / given.sum()))


if __name__ == "__main__":
    main()
