"""One contender in a process of its own, answering commands line by line: so that pairs can alternate.

    python -m benchmarks.contender NAME PRECISION BATCH_SIZE BASE_FOLDER ROWS_FILE

NAME: usual (Trainer, PEFT, padding to 128), tuned (dynamic padding, grouped by length), general or packed (ours).
Commands on stdin: train, evaluate; each is answered with one JSON line.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any, Protocol

from benchmarks.material import MAX_LENGTH, SEED, encode_rows

EVALUATION_BATCH = 32
#: The packed path repeats short epochs until a round is long enough to be timed.
SHORTEST_ROUND_ROWS = 128
LORA = {"r": 8, "lora_alpha": 16, "lora_dropout": 0.1, "target_modules": ["q_lin", "v_lin"]}
LEARNING_RATE = 5e-4
#: BENCHMARK_CLOCK=cpu counts the process's CPU seconds: with one thread each (OMP_NUM_THREADS=1) that gives steady
#: ratios on a machine that is busy with other things.
CLOCK = time.process_time if os.environ.get("BENCHMARK_CLOCK") == "cpu" else time.perf_counter


class Contender(Protocol):
    """Something that can be timed."""

    def train(self) -> dict[str, float]:
        """Train; return seconds and rows of the steps after an epoch's first one, and the rows' tokens."""
        ...

    def evaluate(self) -> dict[str, float]:
        """Predict all rows; return seconds and rows."""
        ...


class Ours:
    """finetune30's loop with one of its engines."""

    def __init__(self, path: str, precision: str, batch_size: int, base: Path, rows: list[tuple[str, int]]) -> None:
        from finetune30.config import ExperimentConfig
        from finetune30.modeling.base import find_base
        from finetune30.modeling.devices import choose_placement
        from finetune30.problems.trainables import load_trainable
        from finetune30.training.paths import build_encoder, build_engine

        self._config = ExperimentConfig.model_validate(
            {
                "model": {"name": str(base)},
                "lora": LORA,
                "training": {
                    "learning_rate": LEARNING_RATE,
                    "per_device_train_batch_size": batch_size,
                    "per_device_eval_batch_size": EVALUATION_BATCH,
                    "eval_strategy": "no",
                    "seed": SEED,
                },
            }
        )
        source = find_base(self._config.model)
        self._split = encode_rows(build_encoder(path, source, MAX_LENGTH), rows)
        self._epochs = max(1, -(-SHORTEST_ROUND_ROWS // len(rows))) if path == "packed" else 1
        problem = load_trainable("single_label_classification", {"label_names": ["0", "1"]})
        self._engine = build_engine(path, self._config, source, problem, choose_placement("cpu", precision))

    def train(self) -> dict[str, float]:
        from finetune30.data.batching import collate, epoch_order

        training = self._config.training
        batch_size = training.per_device_train_batch_size
        counted: list[int] = []
        seconds = 0.0
        for epoch in range(self._epochs):
            for number, rows in enumerate(epoch_order(self._split.lengths, batch_size, training.seed, epoch)):
                started = CLOCK()
                loss = self._engine.accumulate(collate(self._split, rows, self._engine.pad_token_id), 1.0 / len(rows))
                float(self._engine.step(training.learning_rate))
                if number:  # the first step of an epoch is left out, as it is for Trainer
                    seconds += CLOCK() - started
                    counted += rows.tolist()
            assert float(loss) == float(loss), "the loss is not a number"
        return {"seconds": seconds, "rows": len(counted), "tokens": int(self._split.lengths[counted].sum())}

    def take_first_step(self) -> None:
        """Take one optimizer step."""
        from finetune30.data.batching import collate, epoch_order

        rows = epoch_order(self._split.lengths, self._config.training.per_device_train_batch_size, SEED, 0)[0]
        self._engine.accumulate(collate(self._split, rows, self._engine.pad_token_id), 1.0 / len(rows))
        float(self._engine.step(LEARNING_RATE))

    def evaluate(self) -> dict[str, float]:
        from finetune30.training.evaluation import predict_outputs

        started = CLOCK()
        for _ in range(self._epochs):
            predict_outputs(self._engine, self._split, EVALUATION_BATCH)
        return {"seconds": CLOCK() - started, "rows": self._epochs * len(self._split)}


class Transformers:
    """Trainer and PEFT; `tuned` pads dynamically and groups rows by length, else rows are padded to max_length."""

    def __init__(self, tuned: bool, precision: str, batch_size: int, base: Path, rows: list[tuple[str, int]]) -> None:
        import torch
        from peft import LoraConfig, get_peft_model
        from transformers import AutoModelForSequenceClassification, AutoTokenizer, DataCollatorWithPadding
        from transformers.utils import logging

        logging.set_verbosity_error()
        logging.disable_progress_bar()
        self._tuned, self._precision, self._batch_size = tuned, precision, batch_size
        tokenizer = AutoTokenizer.from_pretrained(base)
        torch.manual_seed(SEED)
        model = AutoModelForSequenceClassification.from_pretrained(base, num_labels=2)
        lora = LoraConfig(task_type="SEQ_CLS", modules_to_save=["pre_classifier", "classifier"], **LORA)
        self._model = get_peft_model(model, lora)
        self._collator = DataCollatorWithPadding(tokenizer)
        self._data = _build_dataset(tokenizer, rows, padding=not tuned)

    def train(self) -> dict[str, float]:
        clock = _build_clock()
        self._trainer([clock]).train()
        counted = len(self._data) - self._batch_size
        mean = sum(self._data["length"]) / len(self._data)
        return {"seconds": clock.last - clock.first, "rows": counted, "tokens": counted * mean}

    def evaluate(self) -> dict[str, float]:
        trainer = self._trainer([])
        started = CLOCK()
        trainer.predict(self._data)
        return {"seconds": CLOCK() - started, "rows": len(self._data)}

    def _trainer(self, callbacks: list[Any]) -> Any:
        from transformers import Trainer, TrainingArguments

        arguments = TrainingArguments(
            output_dir=tempfile.mkdtemp(prefix="benchmark-"),
            per_device_train_batch_size=self._batch_size,
            per_device_eval_batch_size=EVALUATION_BATCH,
            learning_rate=LEARNING_RATE,
            num_train_epochs=1,
            train_sampling_strategy="group_by_length" if self._tuned else "random",
            bf16=self._precision == "bf16",
            use_cpu=True,
            save_strategy="no",
            logging_strategy="no",
            report_to=[],
            disable_tqdm=True,
            seed=SEED,
        )
        return Trainer(
            model=self._model,
            args=arguments,
            train_dataset=self._data,
            data_collator=self._collator,
            callbacks=callbacks,
        )


def _build_dataset(tokenizer: Any, rows: list[tuple[str, int]], *, padding: bool) -> Any:
    from datasets import Dataset

    texts = [text for text, _ in rows]
    encoded = dict(tokenizer(texts, truncation=True, max_length=MAX_LENGTH, padding="max_length" if padding else False))
    encoded["length"] = [sum(mask) for mask in encoded["attention_mask"]]
    encoded["labels"] = [label for _, label in rows]
    return Dataset.from_dict(encoded)


def _build_clock() -> Any:
    """Build a callback that notes when the first and the last optimizer step ended."""
    from transformers import TrainerCallback

    class Clock(TrainerCallback):
        first = last = 0.0

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            self.last = CLOCK()
            if state.global_step == 1:
                self.first = self.last

    return Clock()


def build_contender(name: str, precision: str, batch_size: int, base: Path, rows: list[tuple[str, int]]) -> Contender:
    """Build a contender by name."""
    if name in ("usual", "tuned"):
        return Transformers(name == "tuned", precision, batch_size, base, rows)
    return Ours(name, precision, batch_size, base, rows)


def main() -> None:
    """Build the contender, then answer commands until stdin ends."""
    warnings.simplefilter("ignore")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    # Trainer prints its summary to stdout; answers keep the real one, everything else goes to stderr.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    name, precision, batch_size, base, rows_file = sys.argv[1:6]
    rows = [(text, int(label)) for text, label in json.loads(Path(rows_file).read_text(encoding="utf-8"))]
    contender = build_contender(name, precision, int(batch_size), Path(base), rows)
    for line in sys.stdin:
        answer = getattr(contender, line.strip())()
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        print(json.dumps({**answer, "peak_bytes": peak}), file=answers, flush=True)


if __name__ == "__main__":
    main()
