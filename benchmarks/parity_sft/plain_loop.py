"""The same training by a plain loop over PEFT's model: are the losses of held-out rows the same, but for chance?

    python -m benchmarks.parity_sft.plain_loop --conversations FILE [--base FOLDER] [--epochs 1] [--seeds 3]

FILE holds conversations, or seed tasks with an `instruction` and `instances` (self-instruct's form). A fifth of the
rows is judged by. Both sides have their own start of the adapter, order of rows and dropout; the rest is the same, and
the plain loop divides the loss of a step by its supervised tokens, too. Of every judged row and seed the two losses a
token are compared, as pairs.

Exit code 0: the 95 % interval of the mean difference (bootstrap over rows) holds 0, and the mean is at most 0.02.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from finetune30.config import STARTER_CHAT, ExperimentConfig
from finetune30.config.loading import validate_tree
from finetune30.data.encoding import IGNORED, EncodedSplit

MOST_APART, JUDGED_SHARE, BATCH_SIZE, LEARNING_RATE = 0.02, 0.2, 4, 2e-4
LORA = {"r": 16, "lora_alpha": 32, "lora_dropout": 0.05, "target_modules": "all-linear"}
_RESAMPLES = 10_000


def main() -> None:
    """Train both ways with every seed, print both means and the interval of their difference."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.parity_sft.plain_loop", description=__doc__)
    parser.add_argument("--conversations", type=Path, required=True)
    parser.add_argument("--base", default=STARTER_CHAT, help="folder of a chat model")
    parser.add_argument("--engine", choices=("general", "packed"), default="packed")
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--max_length", type=int, default=512)
    options = parser.parse_args()
    rows = _read(options.conversations)
    judged = rows[:: round(1 / JUDGED_SHARE)]
    trained = [row for row in rows if row not in judged]
    ours, theirs = [], []
    for seed in range(options.seeds):
        bench = Bench(options, trained, judged, seed)
        ours.append(bench.train_here())
        theirs.append(bench.train_plainly())
        print(f"seed {seed}: {ours[-1].mean():.4f} here, {theirs[-1].mean():.4f} by the plain loop", flush=True)
    sys.exit(0 if _compare(np.stack(ours), np.stack(theirs)) else 1)


class Bench:
    """One seed: the rows encoded once, and two trainings on them."""

    def __init__(self, options: argparse.Namespace, trained: list[str], judged: list[str], seed: int) -> None:
        from finetune30.modeling.base import find_base
        from finetune30.problems.trainables import load_trainable
        from finetune30.settings import load_settings
        from finetune30.training.paths import build_encoder

        self.options, self.seed = options, seed
        tree = {
            "model": {"name": options.base, "problem_type": "causal_lm", "dropout": None},
            "lora": LORA,
            "data": {"max_length": options.max_length},
            "training": {"precision": "fp32", "device": "cpu", "seed": seed},
        }
        self.config: ExperimentConfig = validate_tree(tree)
        self.source = find_base(self.config.model, data_folder=load_settings().data_folder)
        self.problem = load_trainable("causal_lm", {}).with_base(self.source, self.config, lambda _: None)
        encoder: Any = build_encoder("general", self.source, options.max_length, self.problem)
        self.train, self.judge = (_encode(encoder, rows, options.max_length) for rows in (trained, judged))
        self.steps = options.epochs * (len(self.train) // BATCH_SIZE)

    def train_here(self) -> NDArray[np.float64]:
        """Train with an engine of this project; return the loss a token of every judged row, (n,)."""
        from finetune30.data.batching import collate
        from finetune30.modeling.devices import Placement
        from finetune30.training.paths import build_engine

        placement = Placement("cpu", "fp32", "parity")
        engine: Any = build_engine(self.options.engine, self.config, self.source, self.problem, placement)
        for step, rows in enumerate(self._draw(self.seed)):
            weight = self.problem.weight(self.train, rows)
            engine.accumulate(collate(self.train, rows, engine.pad_token_id), 1.0 / weight)
            engine.step(self._rate(step))
        kept = self.problem.evaluate(engine, self.judge, BATCH_SIZE).outputs
        assert kept is not None
        return kept[:, 0].astype(np.float64) / kept[:, 2]

    def train_plainly(self) -> NDArray[np.float64]:
        """The same by PEFT, AdamW and nothing else."""
        import torch
        from peft import LoraConfig, get_peft_model
        from transformers import AutoModelForCausalLM

        torch.manual_seed(1000 + self.seed)
        base = AutoModelForCausalLM.from_pretrained(self.source.folder, dtype=torch.float32)
        model: Any = get_peft_model(base, LoraConfig(task_type="CAUSAL_LM", **LORA)).train()
        parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        optimizer = torch.optim.AdamW(parameters, lr=LEARNING_RATE, weight_decay=0.0)
        for step, rows in enumerate(self._draw(1000 + self.seed)):
            losses, count = _losses_of(model, self.train, rows)
            (losses.sum() / count.sum()).backward()
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            for group in optimizer.param_groups:
                group["lr"] = self._rate(step)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        model.eval()
        found = []
        with torch.inference_mode():
            for row in range(len(self.judge)):
                losses, count = _losses_of(model, self.judge, np.asarray([row]))
                found.append(float(losses.sum() / count.sum()))
        return np.asarray(found)

    def _draw(self, seed: int) -> list[NDArray[np.int64]]:
        draws = np.random.default_rng(seed)
        order = np.concatenate([draws.permutation(len(self.train)) for _ in range(self.options.epochs + 1)])
        return [order[step * BATCH_SIZE : (step + 1) * BATCH_SIZE] for step in range(self.steps)]

    def _rate(self, step: int) -> float:
        return LEARNING_RATE * (1 - step / self.steps)


def _encode(encoder: Any, rows: list[str], max_length: int) -> EncodedSplit:
    """Encode the rows of which an answer is left within the length."""
    aside = encoder.encode_rows(rows, max_length).aside
    found: EncodedSplit = encoder.encode_rows([row for i, row in enumerate(rows) if i not in aside], max_length)
    return found


def _losses_of(model: Any, split: EncodedSplit, rows: NDArray[np.int64]) -> tuple[Any, Any]:
    """Return the sum of losses and the number of supervised tokens of each row, both (B,)."""
    import torch

    from finetune30.data.batching import collate

    batch = collate(split, rows, 0)
    ids, mask, targets = (torch.from_numpy(part) for part in (batch.input_ids, batch.attention_mask, batch.targets))
    logits = model(input_ids=ids, attention_mask=mask, use_cache=False).logits
    losses = torch.nn.functional.cross_entropy(
        logits.flatten(0, 1).float(), targets.flatten().long(), ignore_index=IGNORED, reduction="none"
    )
    return losses.view(targets.shape).sum(dim=1), (targets != IGNORED).sum(dim=1)


def _read(path: Path) -> list[str]:
    """Return conversations in the canonical form."""
    found = []
    for line in path.read_text(encoding="utf-8").splitlines():
        tree = json.loads(line)
        if "instances" in tree:
            first = tree["instances"][0]
            asked = "\n".join(filter(None, (tree["instruction"], first["input"])))
            turns = [{"role": "user", "content": asked}, {"role": "assistant", "content": first["output"]}]
            tree = {"messages": turns}
        found.append(json.dumps({"messages": tree["messages"]}, ensure_ascii=False))
    return found


def _compare(ours: NDArray[np.float64], theirs: NDArray[np.float64]) -> bool:
    """Print the mean difference with its interval; rows are drawn again, each with all its seeds."""
    apart = ours - theirs
    draws = np.random.default_rng(0).integers(0, apart.shape[1], (_RESAMPLES, apart.shape[1]))
    low, high = np.quantile(apart[:, draws].mean(axis=(0, 2)), (0.025, 0.975))
    mean = float(apart.mean())
    print(f"{apart.size} pairs: {mean:+.4f} nats a token (95 % interval {low:+.4f} to {high:+.4f}; of {MOST_APART:g})")
    return bool(low <= 0 <= high and abs(mean) <= MOST_APART)


if __name__ == "__main__":
    main()
